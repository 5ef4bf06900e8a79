# The commands that a person types. `make` alone prints them.

MODULE := target/release/libngx_http_poolwatch_module.so
DEMO   := target/demo/release

.PHONY: help deps headers module demo-programs demo image bench replay stack test-faults judge fuzz mutants deny test test-versions test-long clean

help: ## print this
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

deps: ## install the Debian packages that building needs, and nginx
	@tools/install-deps build

headers: deps ## configure nginx's headers of the installed nginx-dev in target/nginx
	@tools/nginx-headers

module: headers ## build the module: target/ngx_http_poolwatch_module.so
	@tools/build-module

demo-programs: deps ## build the blue/green application, the mock Slack and the drill
	cargo build --release --locked --manifest-path docker/demo/Cargo.toml --target-dir target/demo

demo: module demo-programs ## the drill: break blue, see green serve and the alerts arrive
	@$(DEMO)/drill demo

image: ## build the image `poolwatch`: nginx with the module, in Docker
	docker build -f docker/Dockerfile --target poolwatch --build-arg REVISION="$$(git rev-parse --short HEAD)" \
		$(if $(BASE_IMAGE),--build-arg BASE_IMAGE=$(BASE_IMAGE)) -t poolwatch .

stack: demo-programs ## the acceptance drill of docker-compose.yml, on real containers that are taken down again
	@tools/stack

bench: module demo-programs ## what watching costs, beside the other ways: 25 minutes; writes docs/performance.md and docs/bench.svg
	@tools/install-deps bench
	@tools/bench

replay: module demo-programs ## a failing primary under load: a log watcher's pool changes and Poolwatch's alerts, side by side
	@tools/install-deps test
	@tools/replay

test-faults: module demo-programs ## every fault of a receiver, over real sockets: one row per fault, alerts lost and sent twice
	@tools/install-deps test
	@tools/faults

judge: module ## 20,000 mixed requests: does what was counted equal nginx's access log? REQUESTS=, SEED=, TEST_NGINX_BINARY=
	@tools/install-deps test
	POOLWATCH_JUDGE_REQUESTS=$(or $(REQUESTS),20000) POOLWATCH_JUDGE_SEED=$(or $(SEED),$(shell date +%s)) tools/prove t/judge.t

fuzz: ## feed arbitrary bytes to all code that reads or writes foreign text, a minute per target
	@tools/install-deps test
	@tools/fuzz 60

mutants: ## change the code in one place at a time: does a test notice? 20 minutes, or MINUTES=; goes on where it stopped
	@tools/mutants $(or $(MINUTES),20)

deny: ## licenses, sources and known vulnerabilities of all crates; builds cargo-deny, which takes minutes
	@tools/deny

test-long: module demo-programs ## the property tests over 100,000 schedules, 500 reloads in an incident, a receiver that is down for an hour
	PROPTEST_CASES=100000 cargo test --profile quick --locked --no-default-features --test truth --test owed
	@tools/install-deps test
	POOLWATCH_RELOADS=500 tools/prove t/storm.t
	@tools/faults 3 '500 with a page' 3600

test-versions: demo-programs ## the module and t/ with each nginx from the oldest to the newest, a table of the results; VERSION= for one
	@tools/test-versions $(VERSION)

test: ## run every test; the last line is the count
	@tools/test

clean: ## remove everything that was built
	rm -rf target docker/demo/target
