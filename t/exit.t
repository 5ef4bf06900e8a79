# A worker that ends while another process keeps the zone's lock: it waits for a moment, says what it could not observe any more, and ends.

use strict;
use warnings;

use Poolwatch;
use Test::More;
use Time::HiRes qw(time);

my $module = $ENV{POOLWATCH_CRASH_MODULE} // 'target/ngx_http_poolwatch_module_crashpoints.so';
plan skip_all => "no module with crash points, see tools/test" if !-e $module;
$ENV{POOLWATCH_MODULE} = Cwd::abs_path($module);

sub stands { my ($pid) = @_; open my $stat, '<', "/proc/$pid/stat" or return; return <$stat> =~ /\) T / }

# A worker of before a reload, and one of after it that stands still with the lock in its hands. `at` is the point up to which the old
# one has come by then; none: it is at rest.
sub host {
    my ($at) = @_;
    my $host = Poolwatch->with_pools(workers => 1);
    $host->configure('poolwatch_error_rate off;', '    poolwatch_zone poolwatch state=poolwatch.state;');
    $host->crash_points;
    $host->start;
    $host->get_many(20);
    my ($old) = $host->workers;
    $host->write_file("crash/$at.stop", '');
    kill 'HUP', $host->{master};
    Poolwatch::wait_until(sub { stands($old) }, 'the old worker to be on its way out', 10);
    my ($new) = Poolwatch::wait_until(sub { (grep { $_ != $old } $host->workers)[0] }, 'the new worker', 10);
    $host->get_many(5);
    $host->write_file('crash/lock-held.stop', '');
    $host->get('/', timeout => 1);
    Poolwatch::wait_until(sub { stands($new) }, 'the new worker to stand still', 10);
    return ($host, $old, $new);
}

for my $at (qw(exit-begun exit-observed)) {
    subtest("the lock is gone at $at", sub {
        my ($host, $old, $new) = host($at);
        my $begin = time;
        kill 'CONT', $old;
        eval { Poolwatch::wait_until(sub { !Poolwatch::is_running($old) }, 'the old worker to end', 10) };
        my $span = time - $begin;
        cmp_ok($span, '<', 2.5, sprintf 'it ends after %.1f s', $span);
        kill 'CONT', $new;
        is_deeply($host->get_many(20), { 200 => 20 }, 'the new one goes on');
        $host->stop('blue');
        $host->get_until(sub { $host->messages(0, 0) }, 'the failover alert', 20);
        $host->allow(qr/\[warn\].* requests were not observed/);
        $host->finish;
    });
}

done_testing;
