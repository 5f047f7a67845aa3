# One image for every role: `docker run penstock ingest`, `… engine`, `… consumers`, `… migrate`. compose.yaml puts them together.
# It needs no shell and no writable file system at run time.

FROM node:26-slim AS packages
WORKDIR /app
COPY package.json package-lock.json ./
# Optional are the Postgres binaries of `penstock up`. No package needs its install script here: that of the package "node"
# would fetch a second Node.
RUN npm ci --omit=dev --omit=optional --ignore-scripts --no-audit --no-fund

# The page. Its tools are in the development packages, and Vite's own programs among the optional ones.
FROM node:26-slim AS page
WORKDIR /app
COPY package.json package-lock.json ./
RUN npm ci --ignore-scripts --no-audit --no-fund
COPY src src
COPY web web
RUN npx vite build web

FROM node:26-slim
ARG REVISION=""
LABEL org.opencontainers.image.title="Penstock" \
      org.opencontainers.image.description="An order pipeline: gRPC and Connect in front, Redis Streams as the log, consumer groups that COPY into Postgres." \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.revision="$REVISION"
WORKDIR /app
COPY --from=packages /app/node_modules node_modules
COPY package.json ./
COPY docker/healthy.ts docker/healthy.ts
COPY migrations migrations
COPY src src
COPY --from=page /app/web/dist web/dist
# For people: docker compose exec consumers penstock audit
RUN ln -s /app/src/main.ts /usr/local/bin/penstock
ENV NODE_ENV=production \
    PENSTOCK_BIND=0.0.0.0
# The image's user "node", as a number so that orchestrators can see that it is not root. It owns nothing here.
USER 1000:1000
EXPOSE 50051 50052 8080
STOPSIGNAL SIGTERM
# Alive, not ready: a role that waits for Redis or Postgres must not be killed for it.
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s --start-interval=1s --retries=3 \
  CMD ["node", "/app/docker/healthy.ts"]
ENTRYPOINT ["node", "/app/src/main.ts"]
CMD ["--help"]
