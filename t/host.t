# The machine's name in a message is the one that it has then: cloud machines are named after nginx's start.

use strict;
use warnings;
use utf8;
use open qw(:std :encoding(UTF-8));

use JSON::PP qw(decode_json);
use Poolwatch;
use Test::More;

# A machine of its own as to its name.
my @under = ('unshare', '-u', 'sh', '-c', 'hostname localhost && exec "$@"', 'sh');
plan skip_all => 'a machine cannot be named here' if system(@under, 'true') != 0;

my $host = Poolwatch->new(workers => 2, under => \@under);
$host->app($_) for qw(blue green);
$host->slack;
my $server = 'location / { proxy_pass http://app; } location /poolwatch/ { poolwatch_status; }';
$host->write_config($host->blue_green('poolwatch_error_rate off;'), $host->receiver, $server);
$host->start;
$host->get_many(20);

my $named = sub { return decode_json($host->get('/poolwatch/api/v1/state')->{content})->{host} };
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
