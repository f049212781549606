"""What all tests share: the fakes can be imported, and how hard Hypothesis tries."""

import os

from hypothesis import HealthCheck, settings

# No deadline: machines that run tests are shared, and a slow example is not a wrong one.
settings.register_profile("default", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", settings.get_profile("default"), print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") == "true" else "default")
