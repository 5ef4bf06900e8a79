# A mix of requests through upstreams of all kinds: what Poolwatch counted equals what nginx wrote into its access log.
# POOLWATCH_JUDGE_SEED and POOLWATCH_JUDGE_REQUESTS choose another mix.

use strict;
use warnings;

use Judge;
use Test::More;

my $seed = $ENV{POOLWATCH_JUDGE_SEED} // 1;
my $requests = $ENV{POOLWATCH_JUDGE_REQUESTS} // 4000;
my $judge = Judge->new(seed => $seed, requests => $requests);
$judge->run;

diag "seed $seed, $requests requests, nginx ", Poolwatch::version();
diag $_ for $judge->table;
for my $what ($judge->skipped) {
    SKIP: { skip $what, 1 }
}
is(join("\n", $judge->differences), '', 'the access log and the JSON agree');
$judge->finish;
done_testing;
