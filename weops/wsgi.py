"""The web application, for WSGI servers."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "weops.settings")
application = get_wsgi_application()

# What a page makes ready starts at once, not with the next sweep.
import weops.celery  # noqa: E402, F401 - registers who publishes hints
