# The configuration in README.md, as it stands there but for ports and paths: its message says what the one shown there says.

use strict;
use warnings;
use utf8;
use open qw(:std :encoding(UTF-8));

use Poolwatch;
use Test::More;

my $root = Cwd::abs_path(File::Basename::dirname(__FILE__) . '/..');

sub page {
    my ($name) = @_;
    open my $file, '<', "$root/$name" or die "$name: $!";
    local $/;
    return <$file>;
}

# The first configuration and the first message of README.md.
sub readme {
    my $text = page('README.md');
    my ($config) = $text =~ /^```nginx\n(.*?)^```\n/ms or die "README.md has no configuration\n";
    my ($message) = $text =~ /^```text\n(.*?)^```\n/ms or die "README.md has no message\n";
    return ($config, $message);
}

# The libraries that docs/install.md says the module links.
sub linked {
    return page('docs/install.md') =~ /which\s+links\s+only\s+([^(]*)/ ? $1 =~ /`(\S+)`/g : ();
}

# A Slack message as the README shows one: a line each for what stands in a field, no marks.
sub shown {
    my ($body) = @_;
    my @parts = map { $_->{fields} ? @{ $_->{fields} } : $_->{elements} ? @{ $_->{elements} } : $_->{text} } @{ $body->{blocks} };
    # Examples are lines of their own.
    my @lines = map { /^\*Examples/ ? $_ : s/\n/ /gr } map { $_->{text} } @parts;
    return join "\n", map { s/<!date[^|]*\|([^>]*)>/$1/gr =~ s/[*`]//gr } @lines;
}

# What a message says, whatever its exact words are. How often is a fact, when and where are none.
sub facts {
    my ($text) = @_;
    my %patterns = (
        'title'           => qr/^\S+ (Failover on "app": blue → green)/m,
        'severity'        => qr/^(Warning)\b/m,
        'clients'         => qr/^.*(Clients saw no error in \d+ requests? since it began)/m,
        'served before'   => qr/^Served before (\S+ blue release \S+)/m,
        'serves now'      => qr/^Serves now (\S+ green release \S+)/m,
        'reason'          => qr/^Reason (\d+ attempts? answered 5xx)$/m,
        'upstream errors' => qr/^Upstream errors (\d+ of \d+ \(\S+%\))/m,
        'client errors'   => qr/^Client errors (0 of \d+ \(0%\))/m,
        'window'          => qr/^(Last \d+ requests upstream \d+ of \d+ \(\S+%\) client 0 of \d+ \(0%\))$/m,
        'threshold'       => qr/^Threshold (.+)$/m,
        'example'         => qr/^(GET \S+ → 200)$/m,
        'attempts'        => qr/^  (500, 200 from )\S+:\d+, \S+:\d+ in [\d.]+, [\d.]+ s$/m,
    );
    return { map { $_ => $text =~ $patterns{$_} ? $1 : "no $_" } keys %patterns };
}

my ($config, $message) = readme();
my @needed = map { /NEEDED.*\[(.*)\]/ } `readelf -d ${\ Poolwatch::module()}`;
# The loader comes with the C library.
is_deeply([sort grep { !/^ld-linux/ } @needed], [sort(linked())], 'the module needs the libraries that docs/install.md names');
my $facts = facts($message);
is_deeply([grep { /^no / } values %$facts], [], 'the message in README.md has all facts') or diag explain $facts;

my $host = Poolwatch->new(workers => 1);
$host->app('blue', RELEASE_ID => 'v1.2.3');
$host->app('green', RELEASE_ID => 'v1.3.0');
$host->slack;
$host->write_file('slack.url', $host->fill('http://127.0.0.1:%%SLACK%%/services/T/B/x'));
chmod 0600, "$host->{prefix}/slack.url";
my %places = (
    'modules/ngx_http_poolwatch_module.so' => Poolwatch::module(),
    'file:/etc/nginx/slack.url'            => 'file:slack.url',
    'app_blue:3000'                        => '127.0.0.1:%%BLUE%%',
    'app_green:3000'                       => '127.0.0.1:%%GREEN%%',
    'listen 8080'                          => 'listen 127.0.0.1:%%PORT%%',
    # What Debian's nginx has in folders of the machine.
    "http {\n" => "http {\n" . join '', map { "    $_;\n" } 'access_log off', map { "${_}_temp_path ${_}_temp" } qw(client_body proxy fastcgi uwsgi scgi),
);
for my $place (sort keys %places) {
    is(scalar($config =~ s/\Q$place\E/$places{$place}/), 1, "README.md has $place" =~ s/\n//r);
}
$host->write_file('nginx.conf', $host->fill($config));
$host->{globals} = 'pid nginx.pid; error_log logs/error.log notice;';
$host->start;

# So many as the message speaks of: the last one fails, and green answers it.
my ($requests) = $facts->{window} =~ /(\d+)/;
my ($path) = $facts->{example} =~ /^GET (\S+)/;
is_deeply($host->get_many($requests - 1, $path), { 200 => $requests - 1 }, 'blue answers');
$host->chaos('blue', 'error');
my $answer = $host->get($path);
is_deeply([$answer->{status}, $answer->{headers}{'x-app-pool'}], [200, 'green'], 'blue breaks, and green answers the same request');
my ($told) = $host->messages(1);
is_deeply(facts(shown($told->{body})), $facts, 'the message says what README.md shows') or diag shown($told->{body});
$host->chaos('blue');
$host->get_many(5, '/status/500');
is_deeply($host->get_many(20, $path), { 200 => 20 }, 'one URL that fails on both pools costs no other request its answer');
is($host->get('/poolwatch/')->{status}, 200, 'the page is there');
$host->finish;

done_testing;
