# Two nginx that were given the same state file: one delivers, and the other one says so, in its log, on its page, in its API and metrics.

use strict;
use warnings;
use utf8;
use open qw(:std :encoding(UTF-8));

use Poolwatch;
use Test::More;

# They share the file and nothing else.
my $file;

sub host {
    my (%options) = @_;
    my $host = Poolwatch->with_pools(workers => 2, %options);
    $file //= "$host->{prefix}/shared.state";
    configure($host, '');
    return $host;
}

sub configure {
    my ($host, $more) = @_;
    my $server = 'location / { proxy_pass http://app; } location /poolwatch/ { poolwatch_status; }';
    $host->configure('poolwatch_error_rate off;', "    poolwatch_zone poolwatch state=$file; $more", $server);
}

sub delivery { my ($host) = @_; return $host->api('module')->{delivery} }
sub metric   { my ($host) = @_; return $host->get('/poolwatch/metrics')->{content} =~ /^poolwatch_delivers (\d)$/m ? $1 : undef }
sub page     { my ($host) = @_; return $host->get('/poolwatch/')->{content} }
sub lines    { my ($host, $pattern) = @_; return scalar grep { $_ =~ $pattern } split /\n/, $host->error_log }

my $says = qr/\[warn\] .*poolwatch: another nginx, process \d+, keeps "\S+shared\.state": it delivers messages, and this one does not/;
my $kept = qr/\[notice\] .*poolwatch: "\S+shared\.state" is kept by this nginx now, which delivers messages/;

my ($first, $second) = (host(), host());
$first->start;
$first->get_many(20);
Poolwatch::wait_until(sub { delivery($first)->{delivers} }, 'the first one to deliver');
$second->start;
Poolwatch::wait_until(sub { lines($second, $says) }, 'the second one to say that it does not', 15);

subtest('the second one says so everywhere', sub {
    my @of_first = $first->workers;
    my $said = delivery($second);
    ok(!$said->{delivers}, 'the API');
    my ($process) = $said->{reason} =~ /^another nginx keeps the state file and delivers, process (\d+)$/ or diag explain $said;
    ok((grep { $_ == ($process // 0) } @of_first), 'it names the other process');
    is(metric($second), 0, 'the metrics');
    like(page($second), qr/Messages are not delivered from here: another nginx keeps the state file and delivers, process $process\./, 'the page');
    $second->get_many(20);
    $second->stop('blue');
    $second->get_many(20, '/', 0.02);
    is(scalar $second->messages(0, 0), 0, 'which is how it is');
});

subtest('the first one has nothing to say', sub {
    is_deeply(delivery($first), { delivers => JSON::PP::true, reason => undef }, 'the API');
    is(metric($first), 1, 'the metrics');
    unlike(page($first), qr/not delivered/, 'the page');
    is(lines($first, qr/another nginx|is kept by/), 0, 'the log');
});

subtest('a reload repeats nothing, and a worker that is killed neither', sub {
    configure($second, 'poolwatch_cooldown 1s;');
    $second->reload;
    my ($worker) = $second->workers;
    kill 'KILL', $worker;
    Poolwatch::wait_until(sub { $second->workers == 2 }, 'its successor');
    # They wait for as long as the first ones did.
    my $until = time + 7;
    Poolwatch::wait_until(sub { time >= $until }, 'the time to pass');
    is(lines($second, $says), 1, 'one line');
    is(lines($second, qr/another nginx/), 1, 'of this kind');
});

subtest('the first one ends: the second one delivers what it owes, and says that it does', sub {
    $first->quit;
    my ($message) = $second->titles(1);
    like($message, qr/Failover on "app"/, 'the message');
    is(lines($second, $kept), 1, 'the line');
    is_deeply(delivery($second), { delivers => JSON::PP::true, reason => undef }, 'the API');
    is(metric($second), 1, 'the metrics');
    unlike(page($second), qr/not delivered/, 'the page');
});

subtest('the other way round it is said again', sub {
    $first->start;
    Poolwatch::wait_until(sub { lines($first, $says) }, 'the first one to say that it does not deliver now', 15);
    ok(!delivery($first)->{delivers}, 'so it is');
    # Nobody is in the way of an nginx that ends.
    cmp_ok($first->quit, '<', 5, 'it ends');
});

$second->allow(qr/exited on signal 9/);
$_->finish for $first, $second;

subtest('an upgrade of the binary: what the new process tree says is true', sub {
    my $host = Poolwatch->with_pools(workers => 2, daemon => 1);
    $file = "$host->{prefix}/shared.state";
    configure($host, '');
    $host->start;
    $host->get_many(20);
    my $old = $host->upgrade;
    Poolwatch::wait_until(sub { lines($host, $says) }, 'the new tree to say that the old one delivers', 15);
    kill 'WINCH', $old;
    Poolwatch::wait_until(sub { lines($host, $kept) }, 'the new tree to say that it does', 10);
    $host->end_master($old, 'QUIT');
    ok(delivery($host)->{delivers}, 'so it is');
    is(lines($host, $says), 1, 'one line each');
    is(lines($host, $kept), 1, 'and no more');
    $host->finish;
});

done_testing;
