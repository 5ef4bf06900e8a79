# What proves something and what does not: aborted requests, timeouts, garbage, names from the configuration, an observer that dozes.

use strict;
use warnings;
use utf8;
use open qw(:std :encoding(UTF-8));

use IO::Socket::INET;
use Poolwatch;
use Test::More;

subtest('a client that goes away proves nothing', sub {
    my $host = Poolwatch->with_pools(workers => 2);
    $host->watch('poolwatch_error_rate 0% window=10;');
    $host->get_many(3);
    $host->get('/delay?ms=1500', timeout => 0.2) for 1 .. 5;
    is($host->get('/status/404')->{status}, 404, 'nginx goes on');
    # blue is healthy, so what is told next is told of a real error.
    $host->chaos($_, 'error') for qw(blue green);
    $host->get('/');
    my ($message) = $host->messages(1, 10);
    like($message->{raw}, qr/1 of 5\b/, 'three answers, a 404 and a real error: the aborted ones are not counted');
    $host->finish;
});

subtest('a pool that hangs is left, and the alert says that it timed out', sub {
    my $host = Poolwatch->with_pools(workers => 2);
    $host->watch('poolwatch_error_rate off;');
    $host->get_many(20);
    $host->chaos('blue', 'timeout');
    my $response = $host->get('/');
    is($response->{status}, 200, 'the client gets its answer');
    is($response->{headers}{'x-app-pool'}, 'green', 'from green');
    my ($message) = $host->messages(1, 10);
    like($message->{body}{text}, qr/blue → green/, 'told');
    like($message->{raw}, qr/timed out/, 'with the reason');
    $host->finish;
});

subtest('an answer that is no HTTP is a failed attempt', sub {
    my $host = Poolwatch->new(workers => 1);
    my $garbage = IO::Socket::INET->new(Listen => 5, LocalAddr => '127.0.0.1', ReuseAddr => 1) or die $!;
    $host->{ports}{BLUE} = $garbage->sockport;
    my $pid = fork // die;
    if (!$pid) {
        while (my $client = $garbage->accept) { sysread $client, my $request, 4096; print $client "\0garbage\r\n\r\n" }
        POSIX::_exit(0);
    }
    $host->{pids}{$pid} = 'garbage';
    $host->app('green');
    $host->slack;
    $host->watch('poolwatch_failover off; poolwatch_error_rate 0% window=10;');
    $host->get('/');
    my ($message) = $host->messages(1, 10);
    like($message->{body}{text}, qr/Error rate/, 'told as an error') or diag $host->error_log;
    $host->finish;
});

subtest('pools that the configuration names are not renamed by any header', sub {
    my $host = Poolwatch->new(workers => 2);
    $host->app('blue', APP_POOL => 'liar');
    $host->app('green', APP_POOL => 'liar');
    $host->slack;
    $host->write_config(
        $host->blue_green('poolwatch_pool one 127.0.0.1:%%BLUE%%; poolwatch_pool two 127.0.0.1:%%GREEN%%; poolwatch_error_rate off;'),
        $host->receiver
    );
    $host->start;
    $host->get_many(5);
    $host->stop('blue');
    $host->get('/');
    my ($message) = $host->messages(1, 10);
    like($message->{body}{text}, qr/one → two/, 'one and two');
    $host->finish;
});

subtest('headers are found wherever they stand, and none is taken for that of another response', sub {
    my $host = Poolwatch->new(workers => 1);
    $host->{ports}{BLUE} = Poolwatch::free_port();
    $host->app('green');
    my $pool = 'add_header X-App-Pool blue;';
    my $others = join ' ', map { "add_header X-Other-$_ $_;" } 1 .. 12;
    # nginx keeps eight headers in a part of its list. X-Release-Ix has the other name's length.
    my %headers = (
        few     => "$pool add_header X-Release-Id few;",
        swapped => "add_header X-Release-Id swapped; $pool",
        late    => "$pool $others add_header X-Release-Id late;",
        between => "add_header X-Release-Ix wrong; $pool add_header X-Release-Id between; $others",
        twice   => "$pool add_header X-Release-Id twice; add_header X-Release-Id wrong;",
        none    => "$pool add_header X-Release-Ix wrong;",
        long    => "$pool add_header X-Release-Id @{['long' x 20]};",
        bare    => '',
    );
    my $locations = join '', map { "location /$_ { $headers{$_} return 200 ok; }\n" } sort keys %headers;
    my $http = "server { listen 127.0.0.1:%%BLUE%%; $locations }";
    $host->write_config($host->blue_green, $http, <<'CONF');
location / { proxy_pass http://app; }
        location /poolwatch/ { poolwatch_status; }
CONF
    $host->start;
    # Each after each other one, and after itself.
    for my $before (sort keys %headers) {
        for my $after (sort keys %headers) {
            $host->get("/$_") for $before, $after;
        }
    }
    my $requests = 2 * keys %headers;
    my %expected = map { $_ => $requests } grep { !/^(?:none|bare)$/ } keys %headers;
    $expected{ substr 'long' x 20, 0, 44 } = delete $expected{long};
    my $seen = sub {
        my $state = $host->api('state');
        return { map { $_->{release} => $_->{requests} } @{ $state->{upstreams}[0]{releases} } };
    };
    my $all = sub { my $count = 0; $count += $_ for values %{ $seen->() }; return $count >= $requests * keys %expected };
    Poolwatch::wait_until($all, 'all requests to be counted', 10);
    is_deeply($seen->(), \%expected, 'each release has its requests');
    $host->finish;
});

subtest('after a long silence the first request is seen at once', sub {
    my $host = Poolwatch->with_pools(workers => 2);
    $host->watch('poolwatch_error_rate off;');
    $host->get_many(2);
    my $threads = sub {
        my ($pid) = @_;
        my $count = 0;
        for my $status (glob "/proc/$pid/task/*/status") {
            open my $file, '<', $status or next;
            my $text = do { local $/; <$file> };
            $count += $1 if $text =~ /^Name:\s+poolwatch/m && $text =~ /^voluntary_ctxt_switches:\s+(\d+)/m;
        }
        return $count;
    };
    # The observers doze off within 100 ms; then nothing wakes them.
    my ($worker) = $host->workers;
    my $last = -1;
    Poolwatch::wait_until(
        sub {
            my $now = $threads->($worker);
            my $quiet = $now == $last;
            $last = $now;
            select undef, undef, undef, 0.5;
            return $quiet;
        },
        'the threads to park', 10
    );
    $host->stop('blue');
    $host->get('/');
    my ($message) = $host->messages(1, 10);
    like($message->{body}{text}, qr/Failover/, 'told');
    $host->finish;
});

subtest('a rotated log changes nothing: nobody reads it (D11, D12)', sub {
    my $host = Poolwatch->with_pools(workers => 2);
    $host->watch('poolwatch_error_rate off;');
    $host->get_many(5);
    rename "$host->{prefix}/logs/error.log", "$host->{prefix}/logs/error.log.1";
    kill 'USR1', $host->{master};
    Poolwatch::wait_until(sub { -e "$host->{prefix}/logs/error.log" }, 'the new log', 10);
    $host->stop('blue');
    $host->get('/');
    my ($message) = $host->messages(1, 10);
    like($message->{body}{text}, qr/Failover/, 'told');
    Poolwatch::wait_until(sub { $host->error_log =~ /poolwatch: failover/ }, 'the line in the new log', 10);
    pass('and the line is in the new log');
    $host->finish;
});

subtest('a restart while the expected pool serves tells nothing (D13)', sub {
    my $host = Poolwatch->with_pools(workers => 2);
    $host->configure;
    for my $round (1 .. 3) {
        $host->start;
        is_deeply($host->get_many(30), { 200 => 30 }, "served, round $round");
        $host->quit;
    }
    is(scalar $host->messages(0), 0, 'no message');
    $host->finish;
});

subtest('what an ACTIVE_POOL expects is what nginx is told, and nobody is misled by the rest (D29)', sub {
    my $host = Poolwatch->with_pools(workers => 2);
    my $upstream = $host->blue_green('poolwatch_error_rate off; poolwatch_active green;');
    $upstream =~ s/%%BLUE%%/%%SWAP%%/;
    $upstream =~ s/%%GREEN%%/%%BLUE%%/;
    $upstream =~ s/%%SWAP%%/%%GREEN%%/;
    $host->write_config($upstream, $host->receiver);
    $host->start;
    $host->get_many(30);
    $host->quit;
    is(scalar $host->messages(0), 0, 'green is expected and serves: nothing is told');
    $host->finish;
});

subtest('signals reach nginx and not the threads', sub {
    my $host = Poolwatch->with_pools(workers => 1);
    $host->watch;
    $host->get_many(2);
    my ($worker) = $host->workers;
    my %masks;
    for my $status (glob "/proc/$worker/task/*/status") {
        open my $file, '<', $status or next;
        my $text = do { local $/; <$file> };
        my ($name) = $text =~ /^Name:\s+(\S+)/m;
        ($masks{$name}) = $text =~ /^SigBlk:\s+(\S+)/m;
    }
    is($masks{nginx}, '0' x 16, 'the event loop takes all signals');
    for my $name (grep { /poolwatch/ } sort keys %masks) {
        # SIGHUP, SIGQUIT, SIGUSR1, SIGTERM, SIGCHLD
        my $mask = hex substr $masks{$name}, 8;
        is($mask & (1 << $_ - 1), 1 << $_ - 1, "$name does not take signal $_") for 1, 3, 10, 15, 17;
    }
    is(scalar(grep { /poolwatch/ } keys %masks), 2, 'an observer and a courier');
    $host->finish;
});

done_testing;
