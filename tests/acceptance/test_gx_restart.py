"""The server is killed in the middle of workspaces that run; the next one shows the same."""

import contextlib
import itertools
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from served import Served, free_port

from taskyard.core.instants import parse_rfc3339

CONFIG = """
[gx.sizes."gx.micro"]
cpu = 0.25
memory_mib = 64
limit_s = 60
simulated_s = 4
"""
