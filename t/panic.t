# A thread that panics: nginx's log has an alert, the thread goes on, the zone's lock is free, and what is owed is told all the same.

use strict;
use warnings;
use utf8;
use open qw(:std :encoding(UTF-8));

use Poolwatch;
use Test::More;

my $module = $ENV{POOLWATCH_CRASH_MODULE} // 'target/ngx_http_poolwatch_module_crashpoints.so';
plan skip_all => "no module with crash points, see tools/test" if !-e $module;
$ENV{POOLWATCH_MODULE} = Cwd::abs_path($module);

my %threads = ('buffer-changed' => 'observer', 'message-claimed' => 'courier', 'message-posted' => 'courier', 'record-half-written' => 'keeper');
for my $point (sort keys %threads) {
    subtest("the $threads{$point} panics at $point", sub {
        my $host = Poolwatch->with_pools(workers => 1);
        my $server = 'location / { proxy_pass http://app; } location /poolwatch/ { poolwatch_status; }';
        $host->configure('poolwatch_error_rate off;', '    poolwatch_zone poolwatch state=poolwatch.state;', $server);
        $host->crash_points;
        $host->start;
        $host->get_many(20);
        my @workers = $host->workers;
        $host->write_file("crash/$point.panic", '');
        $host->stop('blue');
        $host->get_until(sub { $host->messages(0, 0) }, 'the failover alert', 20, '/', 0.02);
        Poolwatch::wait_until(sub { $host->error_log =~ /\[alert\] .*poolwatch: the $threads{$point} panicked and is started again/ }, 'the alert in the log');
        # A message that was posted, and whose fate is not known, is posted again.
        my @titles = $host->titles(1);
        is(scalar(grep { !/Failover on "app": blue → green/ } @titles), 0, 'the truth is told');
        is_deeply([ $host->workers ], \@workers, 'the worker lives');
        $host->app('blue');
        $host->get_until(sub { ($host->titles(0, 0))[-1] =~ /Recovery/ }, 'the recovery alert', 40, '/', 0.02);
        my $workers = $host->api('module')->{workers};
        is($workers->{watching}, 1, 'the worker watches');
        $host->allow(qr/\[alert\] .*poolwatch: the $threads{$point} panicked/, qr/panicked at|at $point|requests were not observed, the observer panicked/);
        $host->finish;
    });
}

done_testing;
