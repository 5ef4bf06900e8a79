# What the log phase makes of single requests: groups, caches, aborts, hostile bytes. The mock Slack is asked through nginx itself:
# GET /slack/messages waits until there are as many as asked for.

use strict;
use warnings;

my $host;

BEGIN {
    require Poolwatch;
    $host = Poolwatch->new;
    $host->app('blue', RELEASE_ID => 'v1.2.3');
    $host->app('green', RELEASE_ID => 'v1.3.0-rc.1+build.5');
    $host->slack;
    $ENV{TEST_NGINX_BLUE} = $host->{ports}{BLUE};
    $ENV{TEST_NGINX_GREEN} = $host->{ports}{GREEN};
    $ENV{TEST_NGINX_SLACK} = $host->{ports}{SLACK};
    $ENV{TEST_NGINX_DEAD} = Poolwatch::free_port();
    $ENV{TEST_NGINX_LOAD_MODULES} //= Poolwatch::module();
    $ENV{TEST_NGINX_BINARY} //= Poolwatch::nginx();
    $ENV{TEST_NGINX_SERVROOT} //= "$host->{prefix}/servroot";
    $ENV{TEST_NGINX_PORT} //= Poolwatch::free_port();
}

END { local $?; undef $host }

use Test::Nginx::Socket 'no_plan';

no_root_location();
no_shuffle();
no_long_string();
master_on();
workers(2);
log_level('info');

# Every block has a webhook of its own, so that what one is told is no other's.
my $hook = 0;
add_block_preprocessor(sub {
    my ($block) = @_;
    $hook++;
    my $http = $block->http_config // '';
    my $receiver = "poolwatch_receiver slack http://127.0.0.1:\$TEST_NGINX_SLACK/services/T/B/$hook;\n";
    $receiver .= "proxy_next_upstream error timeout http_500 http_502 http_503 http_504;\n";
    $receiver .= "proxy_read_timeout 1s;\n";
    $block->set_value(http_config => $receiver . $http);
    my $slack = <<"CONF";
        location /slack/ { proxy_pass http://127.0.0.1:\$TEST_NGINX_SLACK/; proxy_read_timeout 30s; }
        location /told { rewrite ^ /slack/messages?accepted=true&path=/services/T/B/$hook&wait_ms=15000 last; }
CONF
    $block->set_value(config => ($block->config // '') . $slack);
    $block->set_value(no_error_log => "[alert]\n[emerg]\npanicked") unless defined $block->no_error_log;
    $block->set_value(timeout => 20) unless defined $block->timeout;
});

repeat_each(1);
run_tests();

__DATA__

=== TEST 1: a header names pool and release, whatever stands in a release (D10)
--- http_config
    upstream app { zone app 64k; server 127.0.0.1:$TEST_NGINX_DEAD; server 127.0.0.1:$TEST_NGINX_GREEN backup; poolwatch on; poolwatch_error_rate off; }
--- config
    location / { proxy_pass http://app; }
--- request eval
["GET /", "GET /told?count=1"]
--- response_body_like eval
[qr/green/, qr/Failover on.*primary.*green.*v1\.3\.0-rc\.1\+build\.5/s]
--- error_code eval
[200, 200]



=== TEST 2: an internal redirect to a second upstream: each gets its own attempts
--- http_config
    upstream first  { zone first 64k; server 127.0.0.1:$TEST_NGINX_BLUE; poolwatch on; poolwatch_failover off; poolwatch_error_rate 0% window=10; }
    upstream second { zone second 64k; server 127.0.0.1:$TEST_NGINX_GREEN; poolwatch on; poolwatch_failover off; poolwatch_error_rate 0% window=10; }
--- config
    location /status/ { proxy_pass http://first; proxy_intercept_errors on; error_page 500 = @second; }
    location @second { rewrite ^ /version break; proxy_pass http://second; }
--- request eval
["GET /status/500", "GET /told?count=1"]
--- response_body_like eval
[qr/green/, qr/Error rate on ..first.*1 of 1/s]
--- error_code eval
[200, 200]
--- no_error_log
[alert]
error rate of upstream "second"



=== TEST 3: the second upstream's failure is not the first one's
--- http_config
    upstream first  { server 127.0.0.1:$TEST_NGINX_BLUE; poolwatch on; poolwatch_failover off; poolwatch_error_rate 0% window=10; }
    upstream second { server 127.0.0.1:$TEST_NGINX_GREEN; poolwatch on; poolwatch_failover off; poolwatch_error_rate 0% window=10; }
--- config
    location /status/ { proxy_pass http://first; proxy_intercept_errors on; error_page 404 = @second; }
    location @second { rewrite ^ /status/503 break; proxy_pass http://second; }
--- request eval
["GET /status/404", "GET /told?count=1"]
--- response_body_like eval
[qr/503/, qr/Error rate on ..second/]
--- error_code eval
[503, 200]
--- no_error_log
[alert]
error rate of upstream "first"



=== TEST 4: a second upstream block with settings of its own
--- http_config
    poolwatch on;
    poolwatch_failover off;
    poolwatch_error_rate 50% window=10;
    upstream calm     { server 127.0.0.1:$TEST_NGINX_BLUE; }
    upstream nervous  { server 127.0.0.1:$TEST_NGINX_GREEN; poolwatch_error_rate 0% window=10; }
    upstream unwatched { server 127.0.0.1:$TEST_NGINX_GREEN; poolwatch off; }
--- config
    location /calm/ { proxy_pass http://calm/; }
    location /nervous/ { proxy_pass http://nervous/; }
    location /unwatched/ { proxy_pass http://unwatched/; }
--- request eval
["GET /calm/status/500", "GET /unwatched/status/500", "GET /nervous/status/500", "GET /told?count=1"]
--- response_body_like eval
[qr/500/, qr/500/, qr/500/, qr/Error rate on ..nervous/]
--- error_code eval
[500, 500, 500, 200]
--- no_error_log
[alert]
upstream "calm":
upstream "unwatched":



=== TEST 5: a cache hit is no evidence, and a stale answer does not hide the error behind it
--- http_config
    proxy_cache_path cache keys_zone=cache:1m;
    upstream app { server 127.0.0.1:$TEST_NGINX_BLUE max_fails=0; poolwatch on; poolwatch_failover off; poolwatch_error_rate 0% window=10; }
--- config
    location / { proxy_pass http://app; proxy_cache cache; proxy_cache_valid 200 1s; proxy_cache_use_stale http_500; proxy_ignore_headers Cache-Control; proxy_cache_key same; }
    location /status/ { proxy_pass http://app; proxy_cache cache; proxy_cache_use_stale http_500; proxy_cache_bypass 1; proxy_cache_key same; }
--- request eval
["GET /version", "GET /version", "GET /version", "GET /status/500", "GET /told?count=1"]
--- response_body_like eval
[qr/blue/, qr/blue/, qr/blue/, qr/./, qr/Error rate on ..app.*1 of 2/s]
--- error_code_like eval
[200, 200, 200, qr/200|500/, 200]



=== TEST 6: requests that reach no upstream neither dilute nor disturb (D23)
--- http_config
    upstream app { server 127.0.0.1:$TEST_NGINX_BLUE max_fails=0; poolwatch on; poolwatch_failover off; poolwatch_error_rate 10% window=10; }
--- config
    location / { proxy_pass http://app; }
    location /local { return 503; }
--- request eval
["GET /local", "GET /local", "GET /local", "GET /status/404", "GET /status/500", "GET /status/500", "GET /told?count=1"]
--- response_body_like eval
[qr/503/, qr/503/, qr/503/, qr/404/, qr/500/, qr/500/, qr/2 of 3/]
--- error_code eval
[503, 503, 503, 404, 500, 500, 200]



=== TEST 7: a masked failover is an upstream error and no client error (D4)
--- http_config
    upstream app { zone app 64k; server 127.0.0.1:$TEST_NGINX_DEAD max_fails=0; server 127.0.0.1:$TEST_NGINX_GREEN backup; poolwatch on; poolwatch_failover off; poolwatch_error_rate 20% window=10; }
--- config
    location / { proxy_pass http://app; }
--- request eval
["GET /", "GET /", "GET /", "GET /told?count=1"]
--- response_body_like eval
[qr/green/, qr/green/, qr/green/, qr/hidden from clients by retries/]
--- error_code eval
[200, 200, 200, 200]



=== TEST 8: both attempts failed: an error, whatever nginx writes into one field (D3)
--- http_config
    upstream app { zone app 64k; server 127.0.0.1:$TEST_NGINX_DEAD max_fails=0; server 127.0.0.1:$TEST_NGINX_DEAD backup max_fails=0; poolwatch on; poolwatch_failover off; poolwatch_error_rate 10% window=10 of=client; }
--- config
    location / { proxy_pass http://app; }
--- request eval
["GET /", "GET /", "GET /told?count=1"]
--- response_body_like eval
[qr/502/, qr/502/, qr/Error rate on.*2 of 2.*502, 502/s]
--- error_code eval
[502, 502, 200]



=== TEST 9: hostile header values cannot mention, forge or break anything
--- http_config
    upstream app { zone app 64k; server 127.0.0.1:$TEST_NGINX_DEAD; server 127.0.0.1:$TEST_NGINX_GREEN backup; poolwatch on; poolwatch_error_rate off; }
--- config
    location / { proxy_pass http://app; }
--- request eval
["GET /header?pool=%253C!channel%253E%2509*x*%2560%25FF&release=%253Chttps%3A%2F%2Fevil%7Cok%253E%2526", "GET /told?count=1"]
--- response_body_like eval
[qr/ok/, qr/Failover(?!.*<!channel>)(?!.*<https:..evil).*&lt;!channel&gt;.*\\\\xff/s]
--- error_code eval
[200, 200]



=== TEST 10: hostile URIs: the query stays here, raw bytes are shown as what they are
--- http_config
    upstream app { server 127.0.0.1:$TEST_NGINX_BLUE max_fails=0; poolwatch on; poolwatch_failover off; poolwatch_error_rate 0% window=10; }
--- config
    location / { rewrite ^ /status/500 break; proxy_pass http://app; }
--- raw_request eval
["GET /a\xff<!here>%0a\"|?token=canary HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", "GET /told?count=1 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"]
--- response_body_like eval
[qr/500/, qr/\A(?!.*canary).*\\\\xff&lt;!here&gt;%0a/s]
--- error_code eval
[500, 200]
--- no_error_log
[alert]
poolwatch: canary



=== TEST 11: a HEAD, a POST and a 404 are answers like any other
--- http_config
    upstream app { server 127.0.0.1:$TEST_NGINX_BLUE max_fails=0; poolwatch on; poolwatch_error_rate 10% window=10; }
--- config
    location / { proxy_pass http://app; }
--- request eval
["HEAD /", "POST /", "GET /status/404", "GET /status/500", "GET /status/500", "GET /told?count=1"]
--- response_body_like eval
[qr/\A\z/, qr/blue/, qr/404/, qr/500/, qr/500/, qr/2 of 5/]
--- error_code eval
[200, 200, 404, 500, 500, 200]
