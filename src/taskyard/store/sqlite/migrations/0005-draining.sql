-- Whether an operator has a worker drained: kept apart from its state, so that it outlives every
-- incarnation of the worker.

ALTER TABLE workers ADD COLUMN draining INTEGER NOT NULL DEFAULT 0;
