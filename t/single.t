# Without a master (master_process off, as in development) the one process is watched like a worker.

use strict;
use warnings;

my $host;

BEGIN {
    require Poolwatch;
    $host = Poolwatch->new;
    $host->app('green');
    $host->slack;
    $ENV{TEST_NGINX_GREEN} = $host->{ports}{GREEN};
    $ENV{TEST_NGINX_SLACK} = $host->{ports}{SLACK};
    $ENV{TEST_NGINX_DEAD} = Poolwatch::free_port();
    $ENV{TEST_NGINX_LOAD_MODULES} = Poolwatch::module();
    $ENV{TEST_NGINX_BINARY} //= Poolwatch::nginx();
    $ENV{TEST_NGINX_SERVROOT} = "$host->{prefix}/servroot";
    $ENV{TEST_NGINX_PORT} = Poolwatch::free_port();
}

END { local $?; undef $host }

use Test::Nginx::Socket 'no_plan';

no_root_location();
no_long_string();
master_process_enabled(0);
run_tests();

__DATA__

=== TEST 1: one process, no zone: nginx's own marks are hard evidence
--- http_config
    poolwatch_receiver slack http://127.0.0.1:$TEST_NGINX_SLACK/services/T/B/single;
    upstream app { server 127.0.0.1:$TEST_NGINX_DEAD; server 127.0.0.1:$TEST_NGINX_GREEN backup; poolwatch on; poolwatch_error_rate off; }
--- config
    location / { proxy_pass http://app; }
    location /slack/ { proxy_pass http://127.0.0.1:$TEST_NGINX_SLACK/; proxy_read_timeout 30s; }
--- request eval
["GET /", "GET /slack/messages?accepted=true&count=1&wait_ms=15000"]
--- response_body_like eval
[qr/green/, qr/Failover on.*primary.*green/s]
--- error_code eval
[200, 200]
--- no_error_log
[alert]
[emerg]
panicked
