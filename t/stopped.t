# A worker that is stopped with a message on its way, for longer than its lease: another worker tells it, and what the stopped one
# finds when it goes on changes nothing.

use strict;
use warnings;
use utf8;
use open qw(:std :encoding(UTF-8));

use Poolwatch;
use Test::More;

my $host = Poolwatch->with_pools(workers => 2);
$host->slack_mode(mode => 'hang');
$host->watch('poolwatch_error_rate off; poolwatch_cooldown 0;');
$host->get_many(20);
$host->stop('blue');
$host->get_until(sub { $host->captured('count=0') }, 'a courier to be stuck', 10);
my ($sender) = grep { Poolwatch::has_connection($_, $host->{ports}{SLACK}, 'remote') } $host->workers;
ok($sender, 'a worker has the message on its way');
kill 'STOP', $sender;
$host->slack_mode(mode => 'ok');
my @titles = $host->titles(1, 45);
like($titles[0], qr/Failover on "app"/, 'told when the lease is over, by the other worker');
kill 'CONT', $sender;
# It cannot know whether its message arrived after the other one, so the truth is told once more.
$host->messages(2, 30);
my @after = $host->titles(0);
is(scalar(grep { !/Failover on "app"/ } @after), 0, 'nothing but the truth');
cmp_ok(scalar @after, '<=', 2, 'and that at most twice');
$host->app('blue');
$host->get_until(sub { ($host->titles(0))[-1] =~ /Recovery/ }, 'the recovery alert', 30, '/', 0.02);
$host->finish;
done_testing;
