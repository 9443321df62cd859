# Two stages: one builds, the other has the program and the libraries that it needs.
# docker build -t colophon . && docker run --rm -p 8080:8080 -v "$PWD/artifacts:/srv/model:ro" -e COLOPHON_UPSTREAM=model:8082 colophon
ARG SWIFT_TAG=6.2-bookworm

FROM swift:${SWIFT_TAG} AS build
SHELL ["/bin/bash", "-euo", "pipefail", "-c"]
RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
        libsqlite3-dev libssl-dev librdkafka-dev libxxhash-dev libyaml-dev pkg-config make \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY Package.swift Makefile ./
COPY Sources Sources
COPY Tests Tests
COPY Fuzz Fuzz
COPY Benchmarks Benchmarks
RUN swift build -c release --static-swift-stdlib --product colophon \
    && strip -o /colophon .build/release/colophon

FROM debian:bookworm-slim
RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
        libsqlite3-0 libssl3 librdkafka1 libxxhash0 libyaml-0-2 libstdc++6 ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --system --gid 10001 colophon \
    && useradd --system --uid 10001 --gid colophon --no-create-home --home-dir /var/lib/colophon --shell /usr/sbin/nologin colophon \
    && install -d -o colophon -g colophon -m 750 /var/lib/colophon
COPY --from=build /colophon /usr/bin/colophon
# A file, and no variables: those would win over whatever file is mounted in its place.
COPY Packaging/container.yaml /etc/colophon/colophon.yaml
USER 10001:10001
VOLUME /var/lib/colophon
EXPOSE 8080
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/bin/colophon"]
CMD ["serve", "--config", "/etc/colophon/colophon.yaml"]
