# The machine's name in a message is the one that it has then: cloud machines are named after nginx's start.

use strict;
use warnings;
use utf8;
use open qw(:std :encoding(UTF-8));

use Poolwatch;
use Test::More;

# A machine of its own as to its name.
my @under = ('unshare', '-u', 'sh', '-c', 'hostname localhost && exec "$@"', 'sh');
plan skip_all => 'a machine cannot be named here' if system(@under, 'true') != 0;

my $host = Poolwatch->with_pools(workers => 2, under => \@under);
my $server = 'location / { proxy_pass http://app; } location /poolwatch/ { poolwatch_status; }';
$host->watch('poolwatch_error_rate off;', '', $server);
$host->get_many(20);

my $named = sub { return $host->api('state')->{host} };
is($named->(), 'localhost', 'the name at the start');
is(system('nsenter', '-t', $host->{master}, '-u', 'hostname', 'Web-7'), 0, 'the machine is named');
Poolwatch::wait_until(sub { $named->() eq 'web-7' }, 'the page to know it');
$host->stop('blue');
$host->get_until(sub { $host->messages(0, 0) }, 'the failover alert', 10);
my ($message) = $host->messages(1);
like(JSON::PP->new->canonical->encode($message->{body}), qr/\bweb-7\b/, 'the message has it');
unlike(JSON::PP->new->canonical->encode($message->{body}), qr/localhost/, 'and not the former one');
$host->finish;
done_testing;
