# What an operator types. `make` alone lists the targets.
#
# Redis is the one that the settings name (environment, else .env: REDIS_URL, else REDIS_HOST …), else the one that
# `npm start` runs in the data folder, else 127.0.0.1:6379. Only the targets that say so need Docker.

.DEFAULT_GOAL := help
NODE ?= $(if $(wildcard node_modules/.bin/node),node_modules/.bin/node,node)
OPERATE := @$(NODE) make/operate.ts

.PHONY: help test-redis redis-status redis-cli redis-logs show-logs health-check docker-run-local

help:
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 20

test-redis: ## Writes and reads a stream, publishes and hears a message, and leaves nothing behind
	$(OPERATE) test-redis

redis-status: ## Is Redis there, which version, how full, who listens
	$(OPERATE) redis-status

redis-cli: ## Opens redis-cli on that Redis; ARGS="SUBSCRIBE task_updates" runs one command
	$(OPERATE) redis-cli $(ARGS)

redis-logs: ## The newest lines of Redis's log: the container's, or that of the Redis of npm start
	$(OPERATE) redis-logs

show-logs: ## The newest lines of all services of docker-compose.yml (needs Docker)
	$(OPERATE) show-logs

health-check: ## Asks Redis and the control plane how they are
	$(OPERATE) health-check

docker-run-local: ## Builds and starts Redis, control plane and agent in containers (needs Docker)
	$(OPERATE) docker-run-local
