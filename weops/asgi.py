"""The web application, for uvicorn and other ASGI servers."""

import os
import warnings

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "weops.settings")
# Whitenoise hands small static files over synchronously; that is meant.
warnings.filterwarnings("ignore", message="StreamingHttpResponse must consume synchronous iterators")

import django  # noqa: E402

django.setup(set_prefix=False)

from weops.serving import Application, end_with_parent  # noqa: E402 - needs the settings

application = Application()
end_with_parent()

# What a page makes ready starts at once, not with the next sweep.
import weops.celery  # noqa: E402, F401 - registers who publishes hints
