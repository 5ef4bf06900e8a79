# Traffic as it is: a degraded primary, canaries, upstreams without a backup, periods, stale kept connections, flapping.

use strict;
use warnings;
use utf8;
use open qw(:std :encoding(UTF-8));

use IO::Socket::INET;
use Poolwatch;
use Test::More;

subtest('a primary whose errors are hidden by retries is degraded, and that is no failover (D9)', sub {
    my $host = Poolwatch->with_pools(workers => 2);
    my $upstream = $host->blue_green('poolwatch_error_rate 2% window=100;');
    $upstream =~ s/max_fails=1/max_fails=0/;
    $host->write_config($upstream, $host->receiver);
    $host->start;
    for my $error (1 .. 3) {
        $host->get_many(9);
        $host->chaos('blue', 'error');
        is($host->get('/')->{headers}{'x-app-pool'}, 'green', "blue errs, the client is spared ($error)");
        $host->chaos('blue');
    }
    $host->get('/');
    my ($message) = $host->messages(1, 10);
    like($message->{body}{text}, qr/Error rate on .*app/, 'the upstream rate is told');
    like($message->{raw}, qr/Primary degraded\. Clients saw no error .*hidden from clients by retries/, 'as what it is');
    like($message->{raw}, qr/Warning/, 'as a warning, since clients are spared');
    like($message->{raw}, qr/3 attempts answered 5xx/, 'with the reason');
    $host->get_many(20);
    is(scalar $host->messages(0), 1, 'and nothing else: blue serves');
    $host->finish;
});

subtest('a weighted canary is no news, its fall on the backup is, and its end', sub {
    my $host = Poolwatch->new(workers => 4);
    $host->app($_) for qw(blue green red);
    $host->slack;
    $host->write_config(<<'CONF', $host->receiver);
    upstream app {
        server 127.0.0.1:%%BLUE%% weight=9 fail_timeout=1s;
        server 127.0.0.1:%%GREEN%% weight=1 fail_timeout=1s;
        server 127.0.0.1:%%RED%% backup;
        poolwatch on;
        poolwatch_error_rate off;
    }
CONF
    $host->start;
    my %pools;
    $pools{ $host->get('/')->{headers}{'x-app-pool'} }++ for 1 .. 400;
    ok($pools{blue} > 300 && $pools{green} > 20, 'blue and green share the requests');
    is(scalar $host->messages(0), 0, 'nothing is told');
    $host->stop($_) for qw(blue green);
    my $during = $host->get_until(sub { $host->messages(0, 0) }, 'the failover alert', 10);
    is_deeply([keys %$during], [200], 'red serves');
    $host->app($_) for qw(blue green);
    $host->get_until(sub { $host->messages(0, 0) > 1 }, 'the recovery alert', 30, '/', 0.01);
    my @titles = $host->titles(2);
    like($titles[0], qr/Failover on .*app.*: now red/, 'the failover');
    like($titles[1], qr/red → several pools, primary is serving traffic again/, 'and the way back');
    $host->finish;
});

subtest('two pools without a backup: the loss of one is none, the loss of both is an outage', sub {
    my $host = Poolwatch->with_pools(workers => 2);
    $host->write_config(<<'CONF', $host->receiver);
    upstream app {
        zone app 64k;
        server 127.0.0.1:%%BLUE%% fail_timeout=1s;
        server 127.0.0.1:%%GREEN%% fail_timeout=1s;
        poolwatch on;
        poolwatch_error_rate off;
    }
CONF
    $host->start;
    $host->get_many(50);
    $host->stop('blue');
    is_deeply($host->get_many(200), { 200 => 200 }, 'green serves alone');
    is(scalar $host->messages(0), 0, 'which both should, and nothing is told');
    $host->stop('green');
    $host->get_until(sub { $host->messages(0, 0) }, 'the outage', 10);
    $host->app('green');
    $host->get_until(sub { $host->messages(0, 0) > 1 }, 'its end', 10);
    my @titles = $host->titles(2);
    like($titles[0], qr/no pool answers/, 'the outage');
    like($titles[1], qr/serving traffic again/, 'and its end');
    $host->allow(qr/no live upstreams/);
    $host->finish;
});

subtest('a server that is in no poolwatch_pool is told by its role', sub {
    my $host = Poolwatch->with_pools(workers => 2);
    $host->configure('poolwatch_pool one 127.0.0.1:%%BLUE%%; poolwatch_error_rate off;');
    my ($status, $said) = $host->test_config;
    is($status, 0, 'the configuration is taken');
    like($said, qr/server "127\.0\.0\.1:$host->{ports}{GREEN}" of upstream "app" is in no "poolwatch_pool"/, 'with a warning');
    $host->start;
    $host->get_many(5);
    $host->stop('blue');
    $host->get('/');
    my ($message) = $host->messages(1, 10);
    like($message->{body}{text}, qr/one → backup/, 'one, and the backup');
    $host->finish;
});

subtest('a period: what clients see within it is critical, and over when it is', sub {
    my $host = Poolwatch->new(workers => 2);
    $host->app('blue');
    $host->slack;
    $host->write_config(<<'CONF', $host->receiver);
    upstream app {
        zone app 64k;
        server 127.0.0.1:%%BLUE%% max_fails=0;
        poolwatch on;
        poolwatch_failover off;
        poolwatch_error_rate 5% period=10s of=client resolve=4%;
    }
CONF
    $host->start;
    is_deeply($host->get_many(30, '/status/500'), { 500 => 30 }, 'thirty errors');
    is(scalar $host->messages(0), 0, 'of thirty requests say nothing yet');
    $host->get_many(20);
    my ($message) = $host->messages(1, 10);
    like($message->{body}{text}, qr/30 of 50 requests failed for clients \(threshold 5% in 10 s\)/, 'of fifty they do');
    like($message->{raw}, qr/Critical/, 'and clients suffer');
    $host->get_until(sub { $host->messages(0, 0) > 1 }, 'the end', 40, '/', 0.02);
    my @titles = $host->titles(2);
    like($titles[1], qr/is back to normal: 0 of \d+ requests failed for clients on \S+\. The incident lasted \d+ s/, 'its end');
    $host->finish;
});

subtest('a kept connection that went stale is no error of the server', sub {
    my $host = Poolwatch->new(workers => 1);
    # Answers the first request of a connection, and closes it on the second.
    my $server = IO::Socket::INET->new(Listen => 5, LocalAddr => '127.0.0.1', ReuseAddr => 1) or die $!;
    $host->{ports}{BLUE} = $server->sockport;
    my $pid = fork // die;
    if (!$pid) {
        while (my $client = $server->accept) {
            sysread $client, my $request, 4096;
            print $client "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
            sysread $client, $request, 4096;
            close $client;
        }
        POSIX::_exit(0);
    }
    $host->{pids}{$pid} = 'forgetful';
    $host->slack;
    $host->write_config(<<'CONF', $host->receiver . <<'HTTP', <<'SERVER');
    upstream app { server 127.0.0.1:%%BLUE%%; keepalive 4; poolwatch on; poolwatch_error_rate 0% window=10; }
CONF
    log_format attempts '$upstream_status';
    proxy_http_version 1.1;
    proxy_set_header Connection "";
HTTP
        access_log logs/access.log attempts;
        location / { proxy_pass http://app; }
        location /broken { proxy_pass http://app; proxy_next_upstream off; }
SERVER
    $host->start;
    is_deeply($host->get_many(9), { 200 => 9 }, 'clients are served');
    # A connection is kept now, and here nginx may not ask again.
    is($host->get('/broken')->{status}, 502, 'a stale connection that reaches the client');
    my ($message) = $host->messages(1, 10);
    like($message->{body}{text}, qr/1 of 10 requests failed/, 'is the first error');
    open my $log, '<', "$host->{prefix}/logs/access.log" or die $!;
    is(scalar(grep { /^502, 200$/ } <$log>), 8, 'and nginx asked twice for eight of the others') or diag $host->error_log;
    $host->finish;
});

subtest('while the pool changes again and again outages and their ends are told all the same (D25)', sub {
    my $host = Poolwatch->new(workers => 2);
    $host->app('blue');
    $host->slack;
    $host->write_config(<<'CONF', $host->receiver);
    upstream app {
        server 127.0.0.1:%%BLUE%% max_fails=0;
        poolwatch on;
        poolwatch_error_rate off;
        poolwatch_cooldown 0;
    }
CONF
    $host->start;
    $host->get_many(3);
    my $changes = sub { scalar(() = $host->error_log =~ /(?:outage|recovery) of upstream "app"/g) };
    for my $round (1 .. 4) {
        $host->chaos('blue', 'error');
        $host->get_until(sub { $changes->() >= 2 * $round - 1 }, "outage $round", 10, '/', 0.05);
        $host->chaos('blue');
        $host->get_until(sub { $changes->() >= 2 * $round }, "its end $round", 10, '/', 0.05);
    }
    my @titles = $host->titles(8, 20);
    like($titles[5], qr/serving traffic again.*changes again and again/, 'with the sixth change it is flapping');
    unlike($titles[3], qr/again and again/, 'not before');
    like($titles[6], qr/no pool answers/, 'and an outage is told');
    like($titles[7], qr/serving traffic again/, 'and its end');
    like($host->error_log, qr/recovery of upstream "app": .* 6 changes in 10 minutes/, 'the log has the number');
    $host->finish;
});

done_testing;
