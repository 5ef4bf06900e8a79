# What requests and the configuration hold in confidence is nowhere that anybody reads: in no message of any kind, no line of ours in
# error.log, no page, no metric, no state file. nginx's own lines show the request; these are not ours.

use strict;
use warnings;
use utf8;
use open qw(:std :encoding(UTF-8));

use Poolwatch;
use Test::More;

my $canary = 'canary' . 'x' x 26;

my $host = Poolwatch->with_pools(workers => 2, env => { HOOK => '' });
$host->{env}{HOOK} = "http://127.0.0.1:$host->{ports}{SLACK}/services/T/B/$canary";
mkdir "$host->{prefix}/state";
chmod 0777, "$host->{prefix}/state";
$host->write_config(
    $host->blue_green('poolwatch_cooldown 0;'),
    "    poolwatch_zone poolwatch 1m state=$host->{prefix}/state/poolwatch.state;\n    poolwatch_receiver slack env:HOOK;",
    'location / { proxy_pass http://app; } location /poolwatch/ { poolwatch_status write=on; allow 127.0.0.1; deny all; }',
);
$host->start;

# A request with a secret wherever one may be.
sub request {
    my %headers = (Cookie => "c=$canary", Authorization => "Bearer $canary", 'X-App-Pool' => $canary, Referer => "http://e.org/?$canary");
    # Shorter ones are known by their shape.
    $host->get("/reset/$canary/eyJhbGciOiJIUzI1NiJ9.canary.x/canary\@example.org/done?token=$canary&%0d%0a=$canary", headers => \%headers, content => $canary);
}

sub until_told {
    my ($words, $seconds) = @_;
    Poolwatch::wait_until(sub { request(); return grep { /$words/i } $host->titles(0) }, "a message with \"$words\"", $seconds);
}

request() for 1 .. 20;
# The first answer is a failure, so that there is something to say of the receiver.
$host->slack_mode(mode => 'refuse', status => 500, body => 'try later', times => 1);
$host->stop('blue');
until_told('Failover', 20);
$host->chaos('green', 'error');
until_told('no pool answers', 20);
$host->app('blue');
until_told('serving traffic again', 40);
my $test = $host->http('POST', $host->{ports}{PORT}, '/poolwatch/api/v1/test',
    headers => { 'Content-Type' => 'application/json', 'X-Poolwatch' => 1 }, content => '{}');
is($test->{status}, 202, 'a test message is asked for');
until_told('test', 20);

my @messages = $host->captured('count=0');
cmp_ok(scalar @messages, '>=', 4, 'messages of all kinds');
my $all = join "\n", map { $_->{raw} } @messages;
like($all, qr{/reset/\[}, 'which show requests');
unlike($all, qr/canary/, 'and no secret');
my $ours = join "\n", grep { /poolwatch/ } split /\n/, $host->error_log;
like($ours, qr/answered 500/, 'we said something of the receiver');
unlike($ours, qr/canary/, 'in no line of ours');
for my $path ('', 'api/v1/state', 'api/v1/receivers', 'metrics') {
    my $page = $host->get("/poolwatch/$path");
    is($page->{status}, 200, "/$path is there");
    unlike($page->{content}, qr/canary/, "not at /$path");
}
my $saved = '';
for my $file (glob "$host->{prefix}/state/*") {
    open my $state, '<:raw', $file or die "$file: $!";
    local $/;
    $saved .= <$state> // '';
}
like($saved, qr/serving/, 'there is a state file');
unlike($saved, qr/canary/, 'not in the state file');
$host->allow(qr/no live upstreams/);
$host->finish;

done_testing;
