"""Settings of the whole product, read from the environment once (see weops/env.py for the readers).

`make up` sets all that is needed; production sets DATABASE_URL, CELERY_BROKER_URL, WEOPS_SECRET_KEY,
WEOPS_ENCRYPTION_KEYS and WEOPS_ALLOWED_HOSTS itself.
"""

from pathlib import Path

from weops import env
from weops.console.theme import UNFOLD  # noqa: F401

BASE_DIR = Path(__file__).resolve().parent.parent
WEOPS_HOME = Path(env.text("WEOPS_HOME", str(BASE_DIR / ".weops")))

DEBUG = env.flag("WEOPS_DEBUG")
# `manage.py check --deploy` refuses this default; `make up` generates a key of its own on first start.
INSECURE_SECRET_KEY = "insecure-key-for-commands-that-need-none"  # noqa: S105
SECRET_KEY = env.text("WEOPS_SECRET_KEY", INSECURE_SECRET_KEY)
# Fernet keys, newest first: the first encrypts, all of them decrypt.
WEOPS_ENCRYPTION_KEYS = env.listed("WEOPS_ENCRYPTION_KEYS")
ALLOWED_HOSTS = env.listed("WEOPS_ALLOWED_HOSTS", ("127.0.0.1", "localhost", "[::1]"))
CSRF_TRUSTED_ORIGINS = env.listed("WEOPS_TRUSTED_ORIGINS")

INSTALLED_APPS = [
    "unfold",
    # Simple: weops/urls.py discovers the admin's modules, so that workers and beat need not hold them in memory.
    "django.contrib.admin.apps.SimpleAdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.postgres",
    "django_celery_beat",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "django_ace",
    "weops.projects",
    "weops.console",
    "weops.api",
    "events",
    "instances",
    "weops.alarms",
]

MIDDLEWARE = [
    "weops.observe.middleware.RequestIdMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "weops.console.language.ConsoleLocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "weops.console.preferences.PreferencesMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "weops.console.security.ContentSecurityPolicyMiddleware",
]

ROOT_URLCONF = "weops.urls"
WSGI_APPLICATION = "weops.wsgi.application"
ASGI_APPLICATION = "weops.asgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

_database = env.database("DATABASE_URL")
# A server that is silent, not gone, must not hold a thread for ever (seconds; milliseconds, TCP only).
_database["OPTIONS"] = {"connect_timeout": 5, "tcp_user_timeout": 15_000, **_database["OPTIONS"]}
_database["OPTIONS"] |= {
    # A pool, since threads come and go: the web server's per request, the worker's per message.
    # reconnect_timeout short: the pool's pauses between two attempts grow, and start small again with the next request.
    "pool": {
        "min_size": 0,
        "max_size": env.integer("WEOPS_DB_POOL", 24, least=2),
        # Idle connections end soon: each costs the server a process.
        "max_idle": 5,
        "timeout": 10,
        "reconnect_timeout": 4,
    },
    "options": "-c jit=off -c statement_timeout=60s -c lock_timeout=20s -c idle_in_transaction_session_timeout=60s",
}
# A pooled connection that the server has closed meanwhile is found before it is used.
_database["CONN_HEALTH_CHECKS"] = True
DATABASES = {"default": _database}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 10}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.NumericPasswordValidator"},
]

AUTHENTICATION_BACKENDS = ["weops.console.accounts.JoinedBackend"]
LOGIN_REDIRECT_URL = "admin:index"

LANGUAGE_CODE = "en"
LANGUAGES = [("en", "English"), ("zh-hans", "简体中文")]
# One catalogue for each share of the source: weops/catalogues.py.
LOCALE_PATHS = [BASE_DIR / share / "locale" for share in ("templates", "instances", "events", "weops")]
TIME_ZONE = env.text("WEOPS_TIME_ZONE", "UTC")
USE_I18N = True
USE_TZ = True

STATIC_URL = "static/"
# The installed packages serve their own files: no build step, no collectstatic, works offline.
WHITENOISE_USE_FINDERS = True

_secure = env.flag("WEOPS_SECURE_COOKIES", default=False)
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = SECURE_SSL_REDIRECT = _secure
SECURE_HSTS_SECONDS = 31_536_000 if _secure else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = _secure
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if env.flag("WEOPS_BEHIND_PROXY") else None
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
SESSION_COOKIE_AGE = 12 * 3600

STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
    # Sealed logs; an S3-compatible store by WEOPS_LOG_STORAGE (a dotted path of a Django storage class) and its options.
    "logs": {
        "BACKEND": env.text("WEOPS_LOG_STORAGE", "django.core.files.storage.FileSystemStorage"),
        "OPTIONS": env.mapping("WEOPS_LOG_STORAGE_OPTIONS")
        if env.text("WEOPS_LOG_STORAGE")
        else {"location": str(WEOPS_HOME / "logs" / "executions")},
    },
}

# What an execution's log keeps: a head and a rolling tail, of each line, of each second (0: no limit a second).
WEOPS_LOG_HEAD_MB = env.integer("WEOPS_LOG_HEAD_MB", 8, least=1)
WEOPS_LOG_TAIL_MB = env.integer("WEOPS_LOG_TAIL_MB", 8, least=1)
WEOPS_LOG_LINE_KB = env.integer("WEOPS_LOG_LINE_KB", 64, least=1)
WEOPS_LOG_RATE_MB = env.integer("WEOPS_LOG_RATE_MB", 8)

CELERY_BROKER_URL = env.text("CELERY_BROKER_URL")

# Engine. Times in seconds.
WEOPS_TICK_SECONDS = env.seconds("WEOPS_TICK_SECONDS", 2)
WEOPS_HEARTBEAT_SECONDS = env.seconds("WEOPS_HEARTBEAT_SECONDS", 1)
WEOPS_LEASE_SECONDS = env.seconds("WEOPS_LEASE_SECONDS", 20)
WEOPS_HINT_SECONDS = env.seconds("WEOPS_HINT_SECONDS", 5)
WEOPS_KILL_GRACE_SECONDS = env.seconds("WEOPS_KILL_GRACE_SECONDS", 5)
WEOPS_DRAIN_SECONDS = env.seconds("WEOPS_DRAIN_SECONDS", 10)
# A test run that lasts longer is killed; its waiting ends then, too.
WEOPS_TEST_RUN_SECONDS = env.seconds("WEOPS_TEST_RUN_SECONDS", 3600)
WEOPS_RETENTION_DAYS = env.integer("WEOPS_RETENTION_DAYS", 92, least=1)
WEOPS_RECORD_DAYS = env.integer("WEOPS_RECORD_DAYS", 400, least=1)
WEOPS_WAREHOUSE_URL = env.text("WEOPS_WAREHOUSE_URL")
# Private networks that webhooks and HTTP tasks may reach all the same, such as 10.1.0.0/16; see weops/addresses.py.
WEOPS_ALLOWED_NETWORKS = env.listed("WEOPS_ALLOWED_NETWORKS")
# Workers. The folder of the runs' working directories (the system's temporary one); the OS user that tasks run as (the
# worker must be root then); names of the worker's own variables that tasks get, such as HTTPS_PROXY or JAVA_HOME.
WEOPS_WORK_ROOT = env.text("WEOPS_WORK_ROOT")
WEOPS_RUN_AS = env.text("WEOPS_RUN_AS")
WEOPS_TASK_ENVIRONMENT = env.listed("WEOPS_TASK_ENVIRONMENT")
# The master of Spark tasks, such as spark://host:7077 or yarn; the path of a spark-submit other than the installed one's.
WEOPS_SPARK_MASTER = env.text("WEOPS_SPARK_MASTER", "local[*]")
WEOPS_SPARK_SUBMIT = env.text("WEOPS_SPARK_SUBMIT")

# Alarms. The mail server as Apprise writes it, such as mailtos://user:password@smtp.example.com?from=weops@example.com
WEOPS_MAIL_URL = env.text("WEOPS_MAIL_URL")
# Where people reach these pages: links in alarm messages begin so.
WEOPS_PUBLIC_URL = env.text("WEOPS_PUBLIC_URL").rstrip("/")

# The largest body that is read into memory, in bytes: 100,000 firings fit in one call.
DATA_UPLOAD_MAX_MEMORY_SIZE = 16 * 1024 * 1024
# A form names up to 1,000 instances picked by hand, beside all else.
DATA_UPLOAD_MAX_NUMBER_FIELDS = 4_000
# Requests a second of one caller of the API, for each server process; 0: no limit.
WEOPS_API_RATE = env.integer("WEOPS_API_RATE", 100)
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "weops.api.authentication.TokenAuthentication",
        "weops.api.authentication.Session",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_THROTTLE_CLASSES": ["weops.api.throttling.Bucket"],
    "DEFAULT_PARSER_CLASSES": ["weops.api.parsing.Json"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_CONTENT_NEGOTIATION_CLASS": "weops.api.parsing.OnlyJson",
    "DEFAULT_PAGINATION_CLASS": "weops.api.pagination.Keyset",
    "DEFAULT_FILTER_BACKENDS": ["weops.api.filtersets.ColumnFilters"],
    "DEFAULT_SCHEMA_CLASS": "weops.api.schema.Schema",
    "EXCEPTION_HANDLER": "weops.api.errors.handle",
    "URL_FORMAT_OVERRIDE": None,
    "FORMAT_SUFFIX_KWARG": None,
    "TEST_REQUEST_DEFAULT_FORMAT": "json",
}
SPECTACULAR_SETTINGS = {
    "TITLE": "WeOps",
    "DESCRIPTION": "Scheduled data tasks: find instances, see why one does not run, act on one or on 10,000.",
    "VERSION": "1",
    "OAS_VERSION": "3.1.0",
    "SCHEMA_PATH_PREFIX": "/api/v1",
    "SERVE_INCLUDE_SCHEMA": False,
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "COMPONENT_SPLIT_REQUEST": True,
    "ENUM_GENERATE_CHOICE_DESCRIPTION": False,
    "POSTPROCESSING_HOOKS": [
        "weops.api.schema_extensions.add_problems",
    ],
}


# Monitoring: who may read /metrics besides superusers, and for how many seconds an answer is kept.
WEOPS_METRICS_TOKEN = env.text("WEOPS_METRICS_TOKEN")
WEOPS_METRICS_NETWORKS = env.listed("WEOPS_METRICS_NETWORKS")
WEOPS_METRICS_SECONDS = env.seconds("WEOPS_METRICS_SECONDS", 5)

# WEOPS_LOG_FORMAT=json: one JSON object a line, with request and execution ids.
_LOG_FORMAT = "json" if env.text("WEOPS_LOG_FORMAT").lower() == "json" else "line"
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "line": {"format": "%(asctime)s %(levelname)s %(name)s: %(message)s"},
        "json": {"()": "weops.observe.context.JsonLines"},
    },
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": _LOG_FORMAT}},
    # urllib3 writes the whole address of each request, with whatever is secret in it; the layout of graphs forty lines a graph.
    "loggers": {name: {"level": "WARNING"} for name in ("urllib3", "rust-sugiyama", "connected_components")},
    "root": {"handlers": ["console"], "level": env.text("WEOPS_LOG_LEVEL", "INFO")},
}
