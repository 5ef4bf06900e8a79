# nginx's own marks in its table of peers: read under every balancer, with and without `zone`, and not mistaken for a
# server that only has no room.

use strict;
use warnings;
use utf8;
use open qw(:std :encoding(UTF-8));

use Poolwatch;
use Test::More;
use Time::HiRes qw(time);

# A primary that never answered is believed to be slow for 10 seconds, unless nginx has given it up.
subtest('a cold primary that nginx has given up is left without waiting', sub {
    for my $case ([ '', 1 ], [ 'keepalive 4;', 1 ], [ 'least_conn;', 1 ], [ 'least_conn; keepalive 4;', 2 ], [ 'keepalive 4; zone app 64k;', 2 ]) {
        my ($more, $workers) = @$case;
        my $host = Poolwatch->new(workers => $workers);
        $host->{ports}{BLUE} = Poolwatch::free_port();
        $host->app('green');
        $host->slack;
        $host->write_config(<<"CONF", $host->receiver);
    upstream app {
        $more
        server 127.0.0.1:%%BLUE%%;
        server 127.0.0.1:%%GREEN%% backup;
        poolwatch on;
        poolwatch_error_rate off;
    }
CONF
        $host->start;
        my $begin = time;
        $host->get('/');
        my ($message) = $host->messages(1, 8);
        like($message->{body}{text}, qr/Failover on "app"/, "told: $workers workers, \"$more\"");
        # Not how fast, but that it is not the wait for a cold primary.
        my $seconds = time - $begin;
        cmp_ok($seconds, '<', 9, 'before a cold primary is called dead') or diag "$seconds s";
        $host->finish;
    }
});

subtest('an upstream whose servers are all given up is down at once', sub {
    for my $more ('hash $request_uri consistent;', 'ip_hash;', 'random;', 'random two least_conn;', 'least_conn; keepalive 4;') {
        my $host = Poolwatch->new(workers => 1);
        $host->{ports}{$_} = Poolwatch::free_port() for qw(BLUE GREEN);
        $host->slack;
        $host->write_config(<<"CONF", $host->receiver);
    upstream app {
        $more
        server 127.0.0.1:%%BLUE%%;
        server 127.0.0.1:%%GREEN%%;
        poolwatch on;
        poolwatch_error_rate off;
    }
CONF
        $host->start;
        # Fewer than prove an outage by themselves.
        $host->get('/') for 1 .. 2;
        my ($message) = $host->messages(1, 8);
        like($message->{body}{text}, qr/Outage on "app"/, "told: \"$more\"");
        $host->finish;
    }
});

subtest('what is too much for a pool is no failover', sub {
    my $host = Poolwatch->with_pools(workers => 2);
    $host->write_config(<<'CONF', $host->receiver, 'location / { proxy_pass http://app; proxy_read_timeout 10s; } location /poolwatch/ { poolwatch_status; }');
    upstream app {
        zone app 64k;
        server 127.0.0.1:%%BLUE%% max_conns=1;
        server 127.0.0.1:%%GREEN%% backup;
        poolwatch on;
        poolwatch_error_rate off;
    }
CONF
    $host->start;
    $host->get_many(10);
    # One request keeps blue busy for longer than a failover needs to be certain, and green answers all others.
    $host->fork_server('client', sub { $host->get('/delay?ms=4000', timeout => 10) });
    my $pool = sub { $host->get('/')->{headers}{'x-app-pool'} // '' };
    # No other request before it: that might take the only connection.
    Poolwatch::wait_until(sub { grep { Poolwatch::has_connection($_, $host->{ports}{BLUE}, 'remote') } $host->workers }, 'blue to be busy');
    my $of_green = 0;
    $host->get_until(sub { $pool->() eq 'green' ? !++$of_green : 1 }, 'blue to be free', 15);
    cmp_ok($of_green, '>', 100, 'green answered many');
    my ($app) = @{ $host->api('upstreams') };
    is($app->{serving}{pool} // '', 'blue', 'blue serves') or diag explain $app->{serving};
    is($app->{changes_10m}, 0, 'nothing was told');
    # The overflow ends, and a real failover is told.
    $host->stop('blue');
    $host->get_until(sub { grep { /blue → green/ } $host->titles(0) }, 'the failover', 15);
    pass('a failover after it is told');
    $host->finish;
});

done_testing;
