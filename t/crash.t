# Every crash point of the module, with 1 and 4 workers: the worker is killed there, once, in the middle of what it does. Requests go on
# being served, the state is right, the alert is delivered at least once, and nobody hangs.

use strict;
use warnings;
use utf8;
use open qw(:std :encoding(UTF-8));

use Poolwatch;
use Test::More;

my $module = $ENV{POOLWATCH_CRASH_MODULE} // 'target/ngx_http_poolwatch_module_crashpoints.so';
plan skip_all => "no module with crash points, see tools/test" if !-e $module;
$ENV{POOLWATCH_MODULE} = Cwd::abs_path($module);

# All points, by their calls in the sources.
my %points;
for my $file (split /\n/, `find src -name '*.rs'`) {
    open my $source, '<', $file or die "$file: $!";
    $points{$_}++ for map { /crash::at\("([^"]+)"\)/g } <$source>;
}
cmp_ok(scalar keys %points, '>=', 15, 'the sources have crash points');
is_deeply([ grep { $points{$_} > 1 } keys %points ], [], 'each with a name of its own');

# Those at a worker's end are of no use here: t/exit.t stops it there.
delete @points{ grep { /^exit-/ } keys %points };

# The points that come while nginx starts; the others come with an incident. Parts of the table are written by the same few lines, so those are
# points of many writes: the first, the second, ... of them.
my $starts = qr/^(?:slot-|keeper-)/;
my $many   = qr/^(?:buffer-|lock-)/;

for my $point (sort keys %points) {
    for my $workers (1, 4) {
        my @skips = $point =~ $many ? (0, 2, 5) : (0);
        killed_at($point, $workers, $_) for @skips;
    }
}

sub killed_at {
    my ($point, $workers, $skip) = @_;
    my $host = Poolwatch->new(workers => $workers);
    my $conf = 'poolwatch_zone poolwatch 1m state=poolwatch.state;';
    $host->app($_) for qw(blue green);
    $host->slack;
    $host->configure('poolwatch_error_rate off;', "    $conf");
    $host->crash_points;
    my $armed = "$host->{prefix}/crash/$point";
    my $arm   = sub { $host->write_file("crash/$point.$_", '') for 1 .. $skip; $host->write_file("crash/$point", '') };
    $arm->() if $point =~ $starts;
    $host->start;
    # A worker that is killed takes its connections along; the next request is served.
    $host->get_until(sub { $host->workers == $workers && $host->get('/')->{status} == 200 }, 'requests to be served', 10);
    $host->get_many(20);
    $arm->() if $point !~ $starts;
    $host->stop('blue');
    my $name = "$point" . ($skip ? " (after $skip others)" : '') . ", $workers workers";
    my $told = eval { $host->get_until(sub { !-e $armed && $host->messages(0, 0) }, 'the alert', 20, '/', 0.01) };
    ok(!-e $armed, "$name: a worker was killed there");
    ok($told, 'and the alert arrives') or diag $host->error_log;
    Poolwatch::wait_until(sub { $host->workers == $workers }, 'all workers', 10);
    is_deeply($host->get_many(10), { 200 => 10 }, 'requests go on');
    my @titles = $host->titles(1);
    cmp_ok(scalar @titles, '<=', 2, 'told once, or once more by who cannot know');
    is(scalar(grep { !/Failover on "app": (?:blue|primary) → green/ } @titles), 0, 'the truth (invariant 23)');
    $host->allow(qr/exited on signal 9/);
    $host->finish;
}

done_testing;
