# One image for web, worker, control and beat; compose.yaml says which command is which.
FROM python:3.13-slim

ENV PYTHONUNBUFFERED=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    MALLOC_ARENA_MAX=2 \
    GLIBC_TUNABLES=glibc.malloc.tcache_count=0 \
    DJANGO_SETTINGS_MODULE=weops.settings \
    WEOPS_HOME=/var/lib/weops

# Tasks run as this user: it owns its data and nothing else.
RUN useradd --system --create-home --home-dir /var/lib/weops --shell /usr/sbin/nologin weops

WORKDIR /app
COPY . .
RUN python -m pip install -c constraints.txt -e ".[s3,otel]"

USER weops
VOLUME /var/lib/weops
EXPOSE 8000
CMD ["python", "-m", "weops.web", "--host", "0.0.0.0", "--port", "8000"]
