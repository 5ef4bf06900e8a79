# Pages of other sites in the operator's browser: none of them silences anything, whatever it hides in the body of a request, and none reads
# anything by a name of its own that it lets lead to the stack's status port.

use strict;
use warnings;

use Browser;
use JSON::PP qw(decode_json encode_json);
use Poolwatch;
use Test::More;
use Wire;

my $root = Cwd::abs_path(File::Basename::dirname(__FILE__) . '/..');

# The stack's own server for the operator, on a port of this test. One worker: it does one thing after the other.
sub host {
    my $host = Poolwatch->new(workers => 1);
    $host->app($_) for qw(blue green);
    $host->{ports}{$_} = Poolwatch::free_port() for qw(STATUS EVIL);
    open my $file, '<', "$root/nginx/templates/status.conf.template" or die $!;
    my $template = do { local $/; <$file> };
    my %values = (STATUS_HOST => 'ops.example', STATUS_ALLOW => '127.0.0.1', ACTIVE_POOL => 'blue');
    $template =~ s/\$\{([A-Z_]+)\}/$values{$1} \/\/ die "no value of $1"/ge;
    $template =~ s/8090/127.0.0.1:%%STATUS%%/g;
    my $evil = 'server { listen 127.0.0.1:%%EVIL%%; default_type text/html; return 200 "<title>evil</title>"; }';
    $host->write_config($host->blue_green, "$template\n$evil", '');
    return $host->start;
}

sub request {
    my ($host, $method, $path, %options) = @_;
    my $name = $options{name} // 'localhost';
    my $text = Wire::request($method, $path, { Host => "$name:$host->{ports}{STATUS}", Connection => 'close', %{ $options{headers} // {} } }, $options{body});
    my $socket = Wire::connection($host, $host->{ports}{STATUS});
    print $socket $text;
    return (Wire::take_apart(Wire::rest($socket), $method))[0];
}

my %ours = ('X-Poolwatch' => 1, 'Content-Type' => 'application/json');

sub comments { my ($host) = @_; return map { $_->{comment} } @{ decode_json(request($host, GET => '/api/v1/silences')->{body}) } }

# The observer takes orders one after the other, and has taken the one that came last.
sub only_ours {
    my ($host, $what) = @_;
    my $own = request($host, POST => '/api/v1/silences', headers => \%ours, body => '{"duration": "1h", "comment": "own"}');
    is($own->{status}, 202, 'a silence of our own is taken');
    Poolwatch::wait_until(sub { grep { $_ eq 'own' } comments($host) }, 'our silence');
    is_deeply([comments($host)], ['own'], $what);
}

subtest('the status port answers only to names that it knows', sub {
    my $host = host();
    for my $name ('localhost', 'LocalHost', '127.0.0.1', '[::1]', 'ops.example') {
        is(request($host, GET => '/api/v1/state', name => $name)->{status}, 200, "$name is known");
    }
    for my $name ('evil.example', 'localhost.evil.example', 'ops.example.evil.example', '127.0.0.2', '[::2]', '_') {
        for my $path ('/', '/api/v1/state', '/metrics', '/healthz', '/runbook.md') {
            my $answer = request($host, GET => $path, name => $name);
            is($answer->{status}, 421, "$name gets no $path");
            unlike($answer->{body}, qr/blue|poolwatch_|version/, 'nor anything of it');
        }
        my %headers = (%ours, Origin => "http://$name:$host->{ports}{STATUS}");
        my $write = request($host, POST => '/api/v1/silences', name => $name, headers => \%headers, body => '{"duration": "23h"}');
        is($write->{status}, 421, "$name silences nothing");
    }
    my $socket = Wire::connection($host, $host->{ports}{STATUS});
    print $socket "GET /api/v1/state HTTP/1.0\r\n\r\n";
    like(Wire::rest($socket), qr{^HTTP/1\.1 421 }, 'nor does whoever gives no name get anything');
    only_ours($host, 'nothing was carried out');
    $host->finish;
});

subtest('in a browser', sub {
    plan skip_all => 'needs the packages chromium and chromium-driver' unless Browser::is_installed();
    my $host = host();
    my $browser = Browser->new($host, 'rebound.test' => '127.0.0.1');
    my $status = "http://127.0.0.1:$host->{ports}{STATUS}";
    # A request of the page's, and what became of it.
    my $fetch = sub {
        my ($url, $options) = @_;
        $browser->run(<<'JS', $url, $options);
            window.became = null;
            fetch(arguments[0], arguments[1]).then(
                answer => answer.text().then(text => { window.became = `${answer.type} ${answer.status} ${text}` }),
                error => { window.became = String(error) });
JS
        return $browser->until('return window.became', 'an end of the request');
    };
    my $silence = '{"duration": "23h", "comment": "inner"}';
    my $inner = Wire::request(POST => '/api/v1/silences', { %ours, Host => 'localhost' }, $silence);

    $browser->open("http://127.0.0.1:$host->{ports}{EVIL}/");
    is($browser->run('return document.title'), 'evil', 'a page of another origin is open');
    for my $path ('/api/v1/silences', '/api/v1/test', '/api/v1/silences/1', '/api/v1/state', '/', '/nothing', '/healthz') {
        my %simple = (method => 'POST', mode => 'no-cors', headers => { 'Content-Type' => 'text/plain' });
        is($fetch->("$status$path", { %simple, body => $inner }), 'opaque 0 ', "its request to $path is sent and answered");
        is($fetch->("$status$path", { %simple, body => $inner . 'x' x 10_000 }), 'opaque 0 ', 'so is a long one');
    }
    my %asking = (method => 'POST', headers => \%ours, body => $silence);
    like($fetch->("$status/api/v1/silences", \%asking), qr/TypeError/, 'one that would be taken is not sent');
    like($fetch->("$status/api/v1/silences/1", { method => 'DELETE' }), qr/TypeError/, 'nor is the end of a silence');
    # A form is sent without any script's help.
    $browser->run(<<'JS', "$status/api/v1/silences", $inner);
        document.body.innerHTML = '<form method="post" enctype="text/plain"><textarea></textarea></form>';
        const [form, field] = [document.forms[0], document.querySelector('textarea')];
        [form.action, field.name] = [arguments[0], arguments[1]];
        form.submit();
JS
    $browser->until('return document.body.innerText.includes("cross-site request refused")', 'the refusal of a form');
    only_ours($host, 'none of them silenced anything');

    # The name of another site leads here now: its page is of the same origin as what it asks for.
    $browser->open("http://rebound.test:$host->{ports}{STATUS}/");
    is($browser->run('return location.hostname'), 'rebound.test', 'a page is open under a name that leads here');
    like($fetch->('/api/v1/state', {}), qr/^basic 421 /, 'it reads nothing');
    like($fetch->('/api/v1/silences', \%asking), qr/^basic 421 /, 'and silences nothing');
    is_deeply([comments($host)], ['own'], 'there is nothing but our silence');
    $browser->quit;
    $host->finish;
});

done_testing;
