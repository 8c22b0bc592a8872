# The project with the packages of the lock. Not tested: no container engine was available.
#   docker build -t lesion .
#   docker run --rm -v "$PWD/reports:/project/reports" lesion
#   docker run --rm -p 127.0.0.1:8888:8888 lesion jupyter lab --ip=0.0.0.0 --allow-root
FROM python:3.12-slim-bookworm
RUN apt-get update && apt-get install -y --no-install-recommends git make && rm -rf /var/lib/apt/lists/*
WORKDIR /project
# The lock first: its layer is made again only if the lock changes.
COPY requirements.lock ./
RUN python -m venv .venv && .venv/bin/pip install --no-cache-dir --require-hashes -r requirements.lock
COPY . .
RUN .venv/bin/pip install --no-cache-dir --no-deps -e . && touch .venv/installed
ENV PATH=/project/.venv/bin:$PATH
CMD ["make", "study"]
