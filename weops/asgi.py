"""The web application, for uvicorn and other ASGI servers."""

import os
import warnings

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "weops.settings")
# Whitenoise hands small static files over synchronously; that is meant.
warnings.filterwarnings("ignore", message="StreamingHttpResponse must consume synchronous iterators")
application = get_asgi_application()

# What a page makes ready starts at once, not with the next sweep.
import weops.celery  # noqa: E402, F401 - registers who publishes hints
