# A receiver at fault, in every way that a network knows: no alert is lost, none is told twice but where nobody can know, one line in
# error.log says so and one that it is over, no other receiver waits, and no worker keeps a thread or a descriptor of it.
# `tools/faults` runs more of them, more often.

use strict;
use warnings;
use utf8;
use open qw(:std :encoding(UTF-8));

use Faults;
use Test::More;

my $why_not = Faults::own_network();
diag("SKIPPED: no faults of name resolution, $why_not") if $why_not;

my $faults = Faults->new(rows => 30);
for my $fault (grep { $_->{brief} } $faults->all) {
    my $row = $faults->run($fault);
    is($row->{wrong}, '', "$row->{title}: nothing is wrong");
    is($row->{lost}, 0, "$row->{title}: no alert is lost");
    cmp_ok($row->{duplicates}, '<=', $row->{bound}, "$row->{title}: no duplicate that could be avoided");
}
$faults->finish;

subtest('a stuck courier delays neither a reload nor the end', sub {
    my $host = Poolwatch->new(workers => 2);
    $host->app('blue');
    $host->raw_server('slack', $host->{ports}{SLACK} = Poolwatch::free_port(), sub { return $_[0] });
    # It would be waited for until the test's patience is over.
    (my $receiver = $host->receiver) =~ s/;$/ timeout=25s;/;
    $host->write_config(<<'CONF', $receiver);
    upstream app {
        server 127.0.0.1:%%BLUE%% max_fails=0;
        poolwatch on;
        poolwatch_error_rate off;
    }
CONF
    $host->start;
    $host->get('/');
    $host->chaos('blue', 'error');
    $host->get_until(sub { $host->tries('slack') == 1 }, 'the courier to be stuck', 20);
    my $begin = time;
    $host->reload;
    ok(time - $begin < 12, 'the reload');
    Poolwatch::wait_until(sub { $host->tries('slack') == 2 }, 'the new courier to be stuck', 20);
    ok($host->quit < 12, 'and the end');
    unlike($host->error_log, qr/\[error\].*receiver/, 'and the receiver is not blamed for it');
    $host->finish;
});

SKIP: {
    skip "DNS: $why_not", 1 if $why_not;
    ok(Faults::has_own_network(), 'name resolution was at fault as well');
}

done_testing;
