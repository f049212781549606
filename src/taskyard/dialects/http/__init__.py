"""The kit that every dialect is made with: it declares routes, decodes, answers and refuses.

A dialect is a view of the engine in the words of one HTTP API. It has these files, and others
only for what is its own (Drove's rules, GreenCloud's tokens, fastlane's middleware):

* ``app.py``: all its routes as one ASGI application, and the middleware around them;
* ``dialect.py``: a subclass of ``http.dialect.Dialect`` (who is calling, what errors look like,
  what is said where no route is), and its ``Call``, which handlers are given;
* ``routes_*.py``: handlers, each declared with its method and path;
* ``schemas.py``: the wire, as it comes in; a dialect's own words stop there;
* ``mapping.py``: from the wire to the engine's records, and back;
* ``auth.py``: credentials; ``errors.py``: an answer for every kind of error;
* ``projection.py``: what it keeps in memory of the engine, if anything; ``settings.py``.

The kit, in the order of a request:

1. ``application.py`` finds the route (``routes.py``), and answers by itself where there is none;
2. ``Dialect.enter`` finds the caller and makes the ``Call``;
3. the handler reads what it needs (``requests.py`` for headers, query and JSON, ``bodies.py`` for
   bounded bodies, ``sockets.py`` for WebSockets), asks a service, and returns an ASGI application
   that sends the answer (``answers.py``, ``downloads.py``);
4. whatever is raised on the way becomes an answer by the dialect's ``ErrorTable``
   (``errors.py``), which has to know all eight kinds of the engine's errors; missing roles are
   audited, defects logged.

The rest serves all dialects alike: whom requests come from (``proxies.py``), what browsers may send
and run (``browsers.py``, ``origins.py``, ``sandbox.py``), and what all callers share
(``shares.py``, ``streams.py``).
"""
