# The status page in a real Chromium: who serves can be seen, a failover is seen live, silences work, and without scripts,
# on a phone, with a keyboard, in the dark and with hostile names it is still the page.

use strict;
use warnings;
use utf8;
use open qw(:std :encoding(UTF-8));

use Encode qw(encode_utf8);
use JSON::PP qw(encode_json);

use Browser;
use Poolwatch;
use Test::More;

plan skip_all => 'needs the packages chromium and chromium-driver' unless Browser::is_installed();

my $status = <<'CONF';
        location / { proxy_pass http://app; }
        location /poolwatch/ { poolwatch_status write=on; allow 127.0.0.1; deny all; }
        location /read-only/ { poolwatch_status; allow 127.0.0.1; deny all; }
        access_log logs/access.log;
CONF

my $host = Poolwatch->new(workers => 2);
$host->app('blue', RELEASE_ID => 'v1.2.3');
$host->app('green', RELEASE_ID => 'v1.3.0');
$host->slack;
$host->watch('poolwatch_runbook https://runbook.example/failover;', '', $status);
my $browser = Browser->new($host);
my $url = "http://127.0.0.1:$host->{ports}{PORT}";
my $serving = 'return document.querySelector(".upstream h2")?.innerText === arguments[0]';

# How much wider than the window the page is.
my $over = 'const root = document.scrollingElement; return root.scrollWidth - root.clientWidth';

# Waits until the page has looked for news twice.
sub more_news {
    my ($browser) = @_;
    my $round = $browser->run('return performance.getEntriesByType("resource").length');
    $browser->until('return performance.getEntriesByType("resource").length > arguments[0] + 2', 'more news', $round);
}

subtest('before and after the first traffic', sub {
    $browser->look;
    $browser->open("$url/poolwatch/");
    is($browser->text('.upstream h2'), 'No answer seen yet', 'nothing is made up');
    # It lives as long as this document does.
    $browser->run('window.mark = "same document"');
    $host->get_many(50);
    $browser->until($serving, 'blue on the page', 'blue serves');
    is($browser->text('.badges'), 'as expected', 'as it should');
    like($browser->text('.peers'), qr/127\.0\.0\.1:$host->{ports}{BLUE}/, 'with the address of its peer');
    like($browser->text('main'), qr/v1\.2\.3/, 'and its release');
    is($browser->run('return window.mark'), 'same document', 'without loading the page again');
    like($browser->run('return document.title'), qr/^app: blue serves/, 'the title says it too');
    is($browser->complaints, '', 'the console has no complaint');
});

subtest('a failover is seen live', sub {
    $host->stop('blue');
    $host->get_until(sub { $browser->run($serving, 'green serves') }, 'green on the page', 20);
    is($browser->run('return window.mark'), 'same document', 'without loading the page again');
    is($browser->text('#verdict'), 'Needs attention: app: green serves instead of blue.', 'it is said aloud');
    is($browser->run('return document.getElementById("verdict").getAttribute("role")'), 'status', 'by a live region');
    like($browser->text('.alert'), qr/Warning Failover on "app": blue → green/, 'with its alert');
    $browser->until('return document.querySelector(".alert .accepted")', 'the delivery');
    like($browser->text('.alert .deliveries'), qr/slack accepted/, 'and who was told');
    my $runbook = $browser->run('return document.querySelector(".alert a").href');
    is($runbook, 'https://runbook.example/failover#failover', 'and what to do, at the section about it');
    like($browser->text('.lanes'), qr/blue.*green.*incidents/s, 'the timeline has both pools and the incident');
    is($browser->complaints, '', 'the console has no complaint');
});

subtest('a silence, and its end', sub {
    $browser->click('.control > summary');
    $browser->type('.control input[name=comment]', 'a <b>bold</b> move');
    more_news($browser);
    is($browser->run('return document.activeElement.value'), 'a <b>bold</b> move', 'what is typed stays');
    $browser->click('.control button');
    $browser->until('return document.querySelector("#silences .comment")', 'the silence');
    is($browser->text('#silences .comment'), 'a <b>bold</b> move', 'its comment is text');
    like($browser->text('.badges'), qr/silenced/, 'the upstream is silenced');
    more_news($browser);
    is($browser->text('.control output'), 'Done.', 'and what was answered stays');
    $host->messages(2);
    like(($host->titles(2))[1], qr/Silence on "app"/, 'and the receiver knows');
    $browser->click('#silences button');
    $browser->until('return !document.querySelector("#silences")', 'the end of the silence');
    like(($host->titles(3))[2], qr/Silence on "app" is over/, 'that it is over, too');
    $browser->click('#receivers button');
    like(($host->titles(4))[3], qr/Test message/, 'a test message arrives');
    my $notices = () = $host->error_log =~ /\[notice\].*was asked for.*client: 127\.0\.0\.1/g;
    is($notices, 3, 'each write is a line in error.log with the client');
    is($browser->complaints, '', 'the console has no complaint');
});

subtest('no controls where the location takes no writes', sub {
    $browser->open("$url/read-only/");
    is($browser->run('return document.querySelectorAll("form, button, input").length'), 0, 'none is there');
    my %headers = ('X-Poolwatch' => 1, 'Content-Type' => 'application/json');
    my $body = encode_json({ upstream => 'app', duration => '30m' });
    my $port = $host->{ports}{PORT};
    my $answer = $host->http('POST', $port, '/read-only/api/v1/silences', headers => \%headers, content => $body);
    is($answer->{status}, 403, 'and the API refuses');
});

subtest('without scripts', sub {
    $browser->look(scripts => 0);
    $browser->open("$url/poolwatch/");
    like($browser->text('main'), qr/green serves.*since \d\d:\d\d:\d\d UTC.*Failover on "app"/s, 'the facts can be read');
    is($browser->run('return [...document.querySelectorAll("form")].filter(form => form.checkVisibility()).length'),
        0, 'and what needs scripts is not shown');
    is($browser->run('return document.querySelector("meta[http-equiv=refresh]")?.content'), 10, 'it refreshes itself');
    $browser->look;
});

subtest('on a phone, in the dark, with a keyboard', sub {
    for my $width (320, 390, 768, 1400) {
        $browser->look(width => $width, scheme => 'dark');
        $browser->open("$url/poolwatch/");
        $browser->run('document.querySelectorAll("details").forEach(details => details.open = true)');
        is($browser->run($over), 0, "at $width pixels nothing scrolls sideways");
    }
    my $dark = $browser->run('return getComputedStyle(document.body).backgroundColor');
    is($dark, 'rgb(13, 17, 23)', 'dark is dark');
    $browser->press("\x{e004}") for 1 .. 2;
    ok($browser->run('return document.activeElement.matches("main :focus-visible")'), 'Tab goes somewhere');
    my $outline = $browser->run('return getComputedStyle(document.activeElement).outlineStyle');
    is($outline, 'solid', 'and it can be seen where');
});

subtest('nginx ends, and comes back', sub {
    $browser->look;
    $browser->open("$url/poolwatch/");
    $browser->run('window.mark = "same document"');
    $host->quit;
    $browser->until('return document.getElementById("live").className === "off"', 'the page to notice');
    like($browser->text('#live'), qr/nginx does not answer: what you see is \d+ s old/, 'it says how old it is');
    $host->start;
    $browser->until('return document.getElementById("live").className === "on"', 'the page to recover');
    is($browser->text('.upstream h2'), 'No answer seen yet', 'with what the new nginx knows');
    is($browser->run('return window.mark'), 'same document', 'by itself');
    # That nobody answered is in the console, and nothing else.
    my @other = grep { !/Failed to load resource: net::ERR_CONNECTION/ } split /\n/, $browser->complaints;
    is("@other", '', 'the console has no other complaint');
});

$browser->quit;
$host->finish;

subtest('names of others stay text', sub {
    my $host = Poolwatch->new(workers => 1);
    my $image = q("'><img src=x onerror=alert(2)>);
    my %evil = (ONE => '<script>alert(1)</script>', TWO => "a\x{202e}b$image", THREE => "\xff" x 64);
    $host->{ports}{$_} = Poolwatch::free_port() for keys %evil;
    my (@servers, @peers);
    for my $name (sort keys %evil) {
        my $bytes = $name eq 'THREE' ? $evil{$name} : encode_utf8($evil{$name});
        $bytes =~ s/(["\\])/\\$1/g;
        my $headers = join ' ', map { qq(add_header $_ "$bytes";) } qw(X-App-Pool X-Release-Id);
        push @servers, qq(    server { listen 127.0.0.1:%%$name%%; location / { $headers return 200; } });
        push @peers, qq(server 127.0.0.1:%%$name%%;);
    }
    my $upstream = join "\n", @servers, "    upstream \"<b>app\" { zone app 64k; @peers poolwatch on; }";
    (my $location = $status) =~ s{http://app}{http://<b>app};
    $host->write_config($upstream, '', $location);
    $host->start;
    my $browser = Browser->new($host);
    $browser->look(width => 320);
    $browser->open("http://127.0.0.1:$host->{ports}{PORT}/poolwatch/");
    $host->get_many(30);
    $browser->until('return document.querySelectorAll(".box h4 .pool").length >= 3', 'all pools');
    my $text = $browser->text('main');
    like($text, qr/upstream <b>app/, 'an upstream');
    like($text, qr/\Q$evil{ONE}\E/, 'a script');
    like($text, qr/a\\u\{202e\}b\Q$image\E/, 'what would turn the text around, and an image');
    like($text, qr/(?:\\xff){64}/, 'what is no text at all');
    is($browser->run('return document.querySelectorAll("main script, main img, main b").length'), 0, 'none is markup');
    is($browser->run($over), 0, 'none widens a phone');
    # The labels of lanes end with an ellipsis, and their pools stand below in full.
    is($browser->run(<<'JS'), '', 'and none is cut off');
const cut = element => element.scrollWidth > element.clientWidth + 1 && getComputedStyle(element).display !== 'inline';
return [...document.querySelectorAll('main *:not(svg, svg *, .who, .who *, #verdict)')].filter(cut)
    .map(element => `${element.tagName} ${element.className}`).join();
JS
    is($browser->complaints, '', 'the console has no complaint');
    $browser->quit;
    $host->finish;
});

# The pictures in docs/ are of docs/api/example.json: a test that ran for a minute has no last hour to show.
sub pictures {
    my $host = Poolwatch->new(workers => 1);
    my $page = `cargo run -q --no-default-features --example page < docs/api/example.json`;
    $host->write_file('index.html', $page);
    my $own = "root $host->{prefix}; location / { charset utf-8; charset_types text/html; default_type text/html; }";
    $host->write_config('', '', $own);
    $host->start;
    my $browser = Browser->new($host);
    my %looks = (
        'status' => [height => 1180], 'status-dark' => [scheme => 'dark', height => 1180],
        'status-phone' => [width => 390, height => 844],
    );
    for my $name (sort keys %looks) {
        # Without scripts it does not ask for news, and times are in UTC.
        $browser->look(scripts => 0, @{ $looks{$name} });
        $browser->open("http://127.0.0.1:$host->{ports}{PORT}/index.html");
        open my $file, '>:raw', "docs/$name.png" or die "docs/$name.png: $!";
        print $file $browser->picture;
        close $file;
        cmp_ok(-s "docs/$name.png", '<', 200_000, "docs/$name.png is small");
    }
    $browser->quit;
    $host->finish;
}

subtest('pictures', \&pictures) if $ENV{UPDATE_SCREENSHOTS};

done_testing;
