# A worker that cannot watch says so on the page, in the API and in the metrics, whichever worker shows them, and tries again until it can.

use strict;
use warnings;
use utf8;
use open qw(:std :encoding(UTF-8));

use JSON::PP qw(decode_json);
use Poolwatch;
use Test::More;

# Nobody else uses this account: the limit is on all processes of a user.
my $user = 'games';
my $number = getpwnam $user;
plan skip_all => "needs root, the user $user and prlimit" if $> != 0 || !defined $number || system('prlimit', '--nproc=100:100', 'true') != 0;
plan skip_all => "the user $user has processes" if grep { -e $_ && (stat)[4] == $number } glob '/proc/[0-9]*';

my $host = Poolwatch->with_pools(workers => 2, under => [ 'prlimit', '--nproc=1:1000' ]);
my $server = 'location / { proxy_pass http://app; } location /poolwatch/ { poolwatch_status; } location /worker { return 200 $pid; }';
$host->configure('poolwatch_error_rate off;', '', $server);
my $conf = do { open my $file, '<', "$host->{prefix}/nginx.conf" or die $!; local $/; <$file> };
$host->write_file('nginx.conf', "user $user;\n$conf");
$host->start;

my $base = "http://127.0.0.1:$host->{ports}{PORT}";
my $ask  = sub { my ($client, $path) = @_; return $client->get("$base$path")->{content} };
my %client = $host->worker_clients(2);
my @workers = sort keys %client;

my $reason = 'cannot start a thread (11: Resource temporarily unavailable)';
my $metric = sub { my ($client, $name) = @_; my $text = $ask->($client, '/poolwatch/metrics'); return $text =~ /^$name (\d+)$/m ? $1 : undef };

subtest('no worker watches', sub {
    is_deeply($host->get_many(10), { 200 => 10 }, 'requests are served');
    like($host->error_log, qr/\[alert\] .*poolwatch: \Qcannot start a thread (11: Resource temporarily unavailable), this worker does not watch and tries again every 10 s/, 'the log says so');
    for my $worker (@workers) {
        my $state = decode_json($ask->($client{$worker}, '/poolwatch/api/v1/state'));
        is_deeply([ map { $_->{name} } @{ $state->{upstreams} } ], ['app'], 'what should be watched is known all the same');
        is_deeply([ map { $_->{name} } @{ $state->{receivers} } ], ['slack'], 'and who should be told');
        my $said = $state->{module}{workers};
        is_deeply([ @$said{qw(expected watching)} ], [ 2, 0 ], 'the API counts');
        is_deeply([ sort { $a->{process} <=> $b->{process} } @{ $said->{not_watching} } ], [ map { { process => 0 + $_, reason => $reason } } sort { $a <=> $b } @workers ], 'and names');
        is($metric->($client{$worker}, 'poolwatch_workers'), 2, 'the metrics count');
        is($metric->($client{$worker}, 'poolwatch_workers_watching'), 0, 'both');
        my $page = $ask->($client{$worker}, '/poolwatch/');
        like($page, qr/2 of 2 workers do not watch: \Q$reason\E\./, 'the page says so');
        unlike($page, qr/stands in none|None is configured/, 'and nothing that is not true');
    }
});

# Limits are changed by the process' own user, which needs no privilege.
sub set_limit {
    my ($pid, $limit) = @_;
    my @as = (stat "/proc/$pid")[4] == 0 ? () : ('setpriv', "--reuid=$user", "--regid=$user", '--clear-groups');
    return system(@as, 'prlimit', '--pid', $pid, "--nproc=$limit:1000") == 0;
}

subtest('one of two does', sub {
    my ($first, $second) = @workers;
    ok(set_limit($first, 1000), 'it may now');
    Poolwatch::wait_until(sub { $metric->($client{$second}, 'poolwatch_workers_watching') == 1 }, 'it to watch', 15);
    is($metric->($client{$first}, 'poolwatch_workers_watching'), 1, 'both say so');
    like($ask->($client{$_}, '/poolwatch/'), qr/1 of 2 workers does not watch: \Q$reason\E\./, 'and why') for @workers;
    like($host->error_log, qr/\[notice\] .*poolwatch: this worker watches from now on/, 'the log says so');
});

subtest('both do, and what happens is told', sub {
    set_limit($workers[1], 1000);
    Poolwatch::wait_until(sub { $metric->($client{ $workers[0] }, 'poolwatch_workers_watching') == 2 }, 'the other one to watch', 15);
    unlike($ask->($client{$_}, '/poolwatch/'), qr/workers? do(?:es)? not watch/, 'the page is at rest') for @workers;
    is(decode_json($ask->($client{ $workers[0] }, '/poolwatch/api/v1/module'))->{workers}{not_watching}[0], undef, 'and the API');
    $host->get_many(20);
    $host->stop('blue');
    $host->get_until(sub { $host->messages(0, 0) }, 'the failover alert', 10);
});

subtest('a worker that is killed is not counted, and the one after it is', sub {
    my ($first, $second) = @workers;
    ok(set_limit($host->{master}, 1), 'new workers may start no thread');
    kill 'KILL', $first;
    Poolwatch::wait_until(sub { decode_json($ask->($client{$second}, '/poolwatch/api/v1/module'))->{workers}{not_watching}[0]{process} }, 'its successor to say why', 15);
    my $said = decode_json($ask->($client{$second}, '/poolwatch/api/v1/module'))->{workers};
    is_deeply([ @$said{qw(expected watching)} ], [ 2, 1 ], 'one of two watches');
    is_deeply([ map { $_->{reason} } @{ $said->{not_watching} } ], [$reason], 'and one does not');
    my $begin = time;
    $host->quit;
    cmp_ok(time - $begin, '<', 8, 'one that tries again does not keep nginx from ending');
});

$host->allow(qr/\[alert\] .*cannot start a thread/, qr/exited on signal 9/);
$host->finish;
done_testing;
