# A reload storm in the middle of an incident, under load: nothing is told twice, nothing is lost, and nothing grows.

use strict;
use warnings;
use utf8;
use open qw(:std :encoding(UTF-8));

use Poolwatch;
use Test::More;

my $reloads = $ENV{POOLWATCH_RELOADS} // 25;
my $pause   = 0.2;

my $host = Poolwatch->with_pools(workers => 2);
my $state = 'poolwatch_zone poolwatch 1m state=poolwatch.state;';
$host->watch('poolwatch_error_rate off;', "    $state");
$host->get_many(20);
# Down from here on: half of the storm comes while the failover cannot be told, the other half after it was.
$host->slack_mode(mode => 'refuse', status => 503);
$host->stop('blue');

my %failed;
my %before;
for my $round (1 .. $reloads) {
    if ($round == int($reloads / 2)) {
        $host->slack_mode(mode => 'ok');
        # A reload ends the back-off; without one more the next try may be a minute away.
        kill 'HUP', $host->{master};
        $host->get_until(sub { $host->messages(0, 0) }, 'the failover alert', 65, '/', 0.01);
    }
    kill 'HUP', $host->{master};
    my $until = Time::HiRes::time() + $pause;
    while (Time::HiRes::time() < $until) {
        my $status = $host->get('/')->{status};
        $failed{$status}++ if $status != 200;
    }
    %before = weights($host) if $round == 5;
}
Poolwatch::wait_until(sub { !$host->exiting_workers && $host->workers == 2 }, 'the last old worker to end', 30);
is_deeply(\%failed, {}, "no request failed in $reloads reloads");
is(scalar $host->messages(0), 1, 'the failover is told once');
my %after = weights($host);
for my $what (qw(threads descriptors)) {
    cmp_ok($after{$what}, '<=', $before{$what}, "no more $what than at the beginning");
}
# The master keeps nothing of a configuration that it has left; its heap may be a little worse for wear.
cmp_ok($after{rss}, '<=', $before{rss} * 1.25 + 2048, "the master's memory: $before{rss} KiB, then $after{rss} KiB");

$host->app('blue');
$host->get_until(sub { $host->messages(0, 0) > 1 }, 'the recovery alert', 40, '/', 0.02);
like(($host->titles(2))[1], qr/Recovery on "app"/, 'and its end, once');
is(scalar $host->messages(0), 2, 'nothing else');
$host->finish;
done_testing;

# Of the master: memory in KiB, descriptors; of the present workers: threads of the heaviest.
sub weights {
    my ($host) = @_;
    my $status = sub {
        my ($pid, $field) = @_;
        open my $file, '<', "/proc/$pid/status" or return 0;
        return (map { /^$field:\s+(\d+)/ ? $1 : () } <$file>)[0] // 0;
    };
    my @descriptors = glob "/proc/$host->{master}/fd/*";
    my ($threads) = sort { $b <=> $a } map { $status->($_, 'Threads') } $host->workers;
    return (rss => $status->($host->{master}, 'VmRSS'), descriptors => scalar @descriptors, threads => $threads // 0);
}
