"""What every dialect needs of HTTP: answers, bodies, streams, refusals before an upgrade."""
