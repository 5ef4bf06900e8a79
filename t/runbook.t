# What the runbook does with the access log: its commands, as they stand there, over a log in the stack's format that a real nginx wrote
# of requests that try to look like others.

use strict;
use warnings;
use utf8;
use open qw(:std :encoding(UTF-8));

use IO::Socket::INET;
use JSON::PP qw(decode_json);
use Poolwatch;
use Test::More;

my $root = Cwd::abs_path(File::Basename::dirname(__FILE__) . '/..');

sub slurp {
    my ($name) = @_;
    open my $file, '<:raw', $name or die "$name: $!";
    local $/;
    return <$file>;
}

my ($format) = slurp("$root/nginx/nginx.conf") =~ /(log_format pools .*?';)/s or die 'no log_format in nginx.conf';
my @commands = slurp("$root/runbook.md") =~ /(awk [^\n`]*logs\/nginx\/access\.log[^\n`]*)/g;
is(scalar @commands, 2, 'the commands') or diag explain \@commands;

my $host = Poolwatch->new(workers => 1);
my $evil = 'x" 500 upstream_status="500, 502';
$host->app('blue', APP_POOL => $evil, RELEASE_ID => "$evil 503");
$host->app('green', APP_POOL => $evil, RELEASE_ID => $evil);
$host->write_config($host->blue_green =~ s/max_fails=1/max_fails=0/r =~ s/poolwatch on;//r, <<"CONF", 'location / { proxy_pass http://app; } location = /own { return 503; }');
    $format
    log_format told escape=json '{"client": "\$status", "upstream": "\$upstream_status"}';
CONF
my $config = slurp("$host->{prefix}/nginx.conf");
mkdir "$host->{prefix}/logs/nginx";
# Where both formats are known.
ok($config =~ s/^    access_log off;\n//m && $config =~ s/(    server \{)/    access_log logs\/nginx\/access.log pools;\n    access_log logs\/told.log told;\n$1/, 'logs');
$host->write_file('nginx.conf', $config);
$host->start;

# One request line as it is, and the whole answer.
sub ask {
    my ($line) = @_;
    my $socket = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $host->{ports}{PORT}, Timeout => 5) or die $!;
    print $socket "$line\r\nHost: x\r\nConnection: close\r\n\r\n";
    local $/;
    return <$socket> // '';
}

my @well = map { "GET $_ HTTP/1.1" } (
    '/', '/a%20b%205/x', '/a%20b%20c%20500%20d', '/x%22%20500%20pool=', '/"%20500%20', '/%22%20502%20%22', '/%0a2026%20::1%20%22GET%20/%22%20500',
    '/upstream_status=%22500%22', '/%22upstream_status=%22500', '/500', '/%5c%22%20500', '/%ff%22%20599', '/?a=%22%20500', '/status/415',
);
ask($_) for @well, 'A"500 / HTTP/1.1', 'GET /' . 'x' x 9000 . ' HTTP/1.1', 'GET_500 / HTTP/1.1';
ask('GET /own HTTP/1.1');
ask('GET /status/500 HTTP/1.1');
$host->chaos('blue', 'error');
ask($_) for @well[0, 1, 3];
$host->chaos('blue');
$host->quit;

my @lines = split /\n/, slurp("$host->{prefix}/logs/nginx/access.log");
my @told = map { decode_json($_) } split /\n/, slurp("$host->{prefix}/logs/told.log");
is(scalar @lines, scalar @told, 'a line a request, whatever is in it');
my %expected = (upstream => [grep { $told[$_]{upstream} =~ /5\d\d/ } 0 .. $#told], client => [grep { $told[$_]{client} >= 500 } 0 .. $#told]);
is_deeply({ map { $_ => scalar @{ $expected{$_} } } keys %expected }, { upstream => 4, client => 2 }, 'requests that failed') or diag explain \@told;
for (['upstream', $commands[0]], ['client', $commands[1]]) {
    my ($of, $command) = @$_;
    open my $output, '-|', "cd $host->{prefix} && $command" or die $!;
    chomp(my @found = <$output>);
    is_deeply(\@found, [@lines[@{ $expected{$of} }]], "$command finds them, and no other");
}
$host->finish;

done_testing;
