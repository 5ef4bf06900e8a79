# Blue is killed under load and comes back: four workers tell one failover and one recovery, and no client notices.
# D5 (the pool is the upstream's, not the client's), D7 and D8 (the way back is told), D9 (the right pool is named), D30.

use strict;
use warnings;
use utf8;
use open qw(:std :encoding(UTF-8));

use Poolwatch;
use Test::More;

for my $zone ('zone app 64k;', '') {
    my $how = $zone ? 'with a zone' : 'without a zone, each worker learns of it alone';
    subtest("$how: told once, and the way back (D5, D8, D9, D30)", sub {
        my $host = Poolwatch->new(workers => 4);
        $host->app('blue', RELEASE_ID => 'v1.2.3');
        $host->app('green', RELEASE_ID => 'v1.3.0');
        $host->slack;
        my $upstream = <<"CONF";
    upstream app {
        $zone
        server 127.0.0.1:%%BLUE%% max_fails=1 fail_timeout=1s;
        server 127.0.0.1:%%GREEN%% backup;
        poolwatch on;
        poolwatch_error_rate off;
        poolwatch_runbook https://runbook.example/failover;
    }
CONF
        $host->write_config($upstream, $host->receiver);
        $host->start;

        is_deeply($host->get_many(100), { 200 => 100 }, 'baseline: blue answers');
        is(scalar $host->messages(0), 0, 'and nothing is told');

        $host->stop('blue');
        my $during = $host->get_until(sub { $host->messages(0, 0) }, 'the failover alert', 10);
        is_deeply([keys %$during], [200], 'no client request failed');
        my ($failover) = $host->messages(1);
        my $text = $failover->{raw};
        like($failover->{body}{text}, qr/Failover on .*app.*: blue → green/, 'the title says from where to where');
        like($text, qr/127\.0\.0\.1:$host->{ports}{BLUE}/, 'with the address of the pool that failed');
        like($text, qr/127\.0\.0\.1:$host->{ports}{GREEN}/, 'and of the one that serves');
        like($text, qr/v1\.2\.3.*v1\.3\.0|v1\.3\.0.*v1\.2\.3/s, 'with both releases, dots and all (D10)');
        like($text, qr/refused/i, 'with the reason');
        like($text, qr{https://runbook\.example/failover#failover\b}, 'and a link to the section of the runbook');
        like($text, qr/GET \/ → 200.*\d+, 200 from 127\.0\.0\.1:/, 'an example request (D30)');
        like($text, qr/Since.*host `.+`/s, 'since when, and on which host (D30)');

        $host->get_many(200);
        $host->app('blue', RELEASE_ID => 'v1.2.3');
        my $back = $host->get_until(sub { $host->messages(0, 0) > 1 }, 'the recovery alert', 30, '/', 0.01);
        is_deeply([keys %$back], [200], 'no client request failed on the way back');
        my @messages = $host->messages(2);
        like($messages[1]{body}{text}, qr/primary is serving traffic again/, 'the recovery is told, cooldown or not (D7, D8)');
        like($messages[1]{body}{text}, qr/The incident lasted \d+ s/, 'and how long it took (D30)');
        is($host->get('/')->{headers}{'x-app-pool'}, 'blue', 'and it is true');
        $host->get_many(300);
        is(scalar $host->messages(0), 2, 'exactly one failover and one recovery');
        my $log = $host->error_log;
        is(scalar(() = $log =~ /\[error\].*failover of upstream "app": blue/g), 1, 'one line in error.log, at the level that is on everywhere');
        is(scalar(() = $log =~ /\[error\].*recovery of upstream "app"/g), 1, 'and as visible a line of its end');
        $host->finish;
    });
}

subtest('a client cannot make pools up (D6)', sub {
    my $host = Poolwatch->with_pools;
    $host->watch('poolwatch_error_rate off;');
    for my $pool (('red', '<!channel>') x 50) {
        $host->get('/', headers => { 'X-App-Pool' => $pool });
    }
    is($host->quit < 2, 1, 'nginx ends in time');
    is(scalar $host->messages(0), 0, 'no alert');
    $host->finish;
});

subtest('a masked error of a healthy primary is no failover, however it is counted (D4, D25)', sub {
    my $host = Poolwatch->with_pools(workers => 2);
    my $upstream = $host->blue_green('poolwatch_error_rate 2% of=client;');
    $upstream =~ s/max_fails=1/max_fails=0/;
    $host->write_config($upstream, $host->receiver);
    $host->start;
    for (1 .. 40) {
        $host->get_many(9);
        # green has no error for this path either, but answers 200 in blue's place: nginx retries what blue answered 500.
        $host->chaos('blue', 'error');
        is($host->get('/')->{headers}{'x-app-pool'}, 'green', 'masked') if $_ == 1;
        $host->chaos('blue');
        $host->get('/');
    }
    is($host->quit < 2, 1, 'nginx ends in time');
    is(scalar $host->messages(0), 0, 'no alert');
    unlike($host->error_log, qr/failover of upstream/, 'not even in error.log');
    $host->finish;
});

done_testing;
