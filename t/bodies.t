# Requests and answers stay in step at the status location: whatever is answered, no byte of a request's body is taken for another request,
# no answer has a body where none belongs, and none lacks the one that it announced. A body may come in any frame and lie in a file.

use strict;
use warnings;

use HTTP::Tiny;
use Http2;
use Poolwatch;
use Test::More;
use Wire;

my $server = <<'CONF';
client_header_buffer_size 4k;
        location = /mark { return 200 "mark $connection_requests\n"; }
        location /poolwatch/ { poolwatch_status write=on; allow 127.0.0.1; deny all; }
        location /read { poolwatch_status; }
        location /closed/ { poolwatch_status write=on; deny all; }
        location /limited/ { poolwatch_status write=on; limit_except GET { deny all; } }
        location /small/ { poolwatch_status write=on; allow 127.0.0.1; deny all; client_body_buffer_size 16; }
        location /on/ { poolwatch_status write=on; allow 127.0.0.1; deny all; client_body_in_file_only on; }
        location /clean/ { poolwatch_status write=on; allow 127.0.0.1; deny all; client_body_in_file_only clean; client_body_buffer_size 16; }
        location /single/ { poolwatch_status write=on; allow 127.0.0.1; deny all; client_body_in_single_buffer on; client_body_buffer_size 128; }
        location /short/ { poolwatch_status write=on; allow 127.0.0.1; deny all; client_max_body_size 100; }
        location /unlimited/ { poolwatch_status write=on; allow 127.0.0.1; deny all; client_max_body_size 0; }
        location /slow/ { poolwatch_status; postpone_output 0; }
        location /ssi/ { ssi on; ssi_types text/plain; root pages; }
        location /asked/ { auth_request /poolwatch/api/v1/module; root pages; }
        location /denied/ { auth_request /poolwatch/api/v1/nothing; root pages; }
        location /after/ { root pages; post_action /poolwatch/api/v1/module; }
        location /lost/ { root pages; error_page 404 /poolwatch/api/v1/module; }
        location /empty/ { root pages; error_page 404 =204 /poolwatch/api/v1/module; }
CONF

# One worker: it does one thing after the other, so that what was carried out before the last answer is known.
sub host {
    my (%options) = @_;
    my $host = Poolwatch->new(workers => 1, %options);
    $host->app($_) for qw(blue green);
    $host->{ports}{$_} = Poolwatch::free_port() for qw(FRONT H2 SLOW);
    my $more = "listen 127.0.0.1:%%H2%% http2;\n        listen 127.0.0.1:%%SLOW%% sndbuf=4k;\n        keepalive_requests 1000000;";
    $host->write_config($host->blue_green, <<'CONF', "$more\n        $server");
    upstream status { server 127.0.0.1:%%PORT%%; keepalive 1; }
    server {
        listen 127.0.0.1:%%FRONT%%;
        location / {
            proxy_pass         http://status;
            proxy_http_version 1.1;
            proxy_set_header   Connection "";
            proxy_set_header   Host       $http_host;
        }
    }
CONF
    for my $folder (qw(pages pages/ssi pages/asked pages/denied pages/after)) {
        mkdir "$host->{prefix}/$folder";
    }
    $host->write_file("pages/$_/page.txt", "page\n") for qw(asked denied after);
    $host->write_file('pages/ssi/page.txt', qq(<<!--# include virtual="/poolwatch/api/v1/module" -->|)
        . qq(<!--# include virtual="/poolwatch/api/v1/nothing" -->>\n));
    return $host->start;
}

sub silences { my ($host) = @_; return @{ $host->api('silences') } }

my %ours = ('X-Poolwatch' => 1, 'Content-Type' => 'application/json');

# A body that is a complete request for a silence, which it becomes wherever nobody reads it.
sub inner { return Wire::request(POST => '/poolwatch/api/v1/silences', \%ours, '{"duration": "23h", "comment": "inner"}') }

my $mark = Wire::request(GET => '/mark', { Connection => 'close' });

# Nothing of the bodies was carried out: the observer takes orders one after the other, and has taken the one that came last.
sub nothing_carried_out {
    my ($host, $what) = @_;
    my $own = $host->http('POST', $host->{ports}{PORT}, '/poolwatch/api/v1/silences', headers => \%ours,
        content => '{"duration": "1h", "comment": "own"}');
    is($own->{status}, 202, 'a silence of our own is taken');
    my $there = sub { my @all = map { $_->{comment} } silences($host); (grep { $_ eq 'own' } @all) && \@all };
    is_deeply(Poolwatch::wait_until($there, 'our silence'), ['own'], $what);
}

# What is answered, and to what. Each has a body that is a whole request, with as much behind it as is asked for.
my @outer = (
    [403, 'a write from another site',     POST   => '/poolwatch/api/v1/silences',   { Origin => 'http://evil.example', 'Content-Type' => 'text/plain' }],
    [403, 'a test from another site',      POST   => '/poolwatch/api/v1/test',       { Origin => 'null' }],
    [403, 'a DELETE without our header',   DELETE => '/poolwatch/api/v1/silences/1', {}],
    [403, 'a write where none is taken',   POST   => '/read/api/v1/silences',        \%ours],
    [403, 'a DELETE where none is taken',  DELETE => '/read/api/v1/silences/1',      \%ours],
    [403, 'a write that nginx denies',     POST   => '/closed/api/v1/silences',      \%ours],
    [403, 'a write that is limited',       POST   => '/limited/api/v1/silences',     \%ours],
    [413, 'a body that is too long',       POST   => '/poolwatch/api/v1/silences',   \%ours, 5_000],
    [413, 'one that is much too long',     POST   => '/poolwatch/api/v1/test',       \%ours, 500_000],
    [413, 'one that needs a file',         POST   => '/small/api/v1/silences',       \%ours, 5_000],
    [413, 'one that goes to a file',       POST   => '/on/api/v1/silences',          \%ours, 5_000],
    [400, 'a write that is no JSON',       POST   => '/poolwatch/api/v1/silences',   \%ours],
    [415, 'a write that is text',          POST   => '/poolwatch/api/v1/silences',   { 'X-Poolwatch' => 1, 'Content-Type' => 'text/plain' }],
    [400, 'a write without limits',        POST   => '/unlimited/api/v1/silences',   \%ours],
    [400, 'a write that needs a file',     POST   => '/small/api/v1/silences',       \%ours],
    [400, 'a write that goes to a file',   POST   => '/on/api/v1/silences',          \%ours],
    [404, 'the end of no silence',         DELETE => '/poolwatch/api/v1/silences/9', \%ours],
    [404, 'a path that there is not',      POST   => '/poolwatch/api/v1/nothing',    \%ours],
    [405, 'a method that there is not',    PUT    => '/poolwatch/api/v1/silences',   \%ours],
    [405, 'a write of what can be read',   POST   => '/poolwatch/metrics',           \%ours],
    [301, 'the location without slash',    GET    => '/read',                        {}],
    [301, "nginx's own way to the slash",  POST   => '/poolwatch',                   {}],
    [405, 'a write without slash',         POST   => '/read',                        \%ours],
    [200, 'a look',                        GET    => '/poolwatch/',                  {}],
    [200, 'a look at the metrics',         GET    => '/read/metrics',                {}, 5_000],
    [200, 'HEAD',                          HEAD   => '/poolwatch/api/v1/state',      {}],
    [304, 'a look at anything new',        GET    => '/poolwatch/api/v1/state',      { 'If-None-Match' => '*' }],
    [304, 'HEAD at anything new',          HEAD   => '/poolwatch/',                  { 'If-None-Match' => '*' }],
);

subtest('no body becomes a request', sub {
    my $host = host();
    for (@outer) {
        my ($status, $what, $method, $path, $headers, $padding) = @$_;
        my $body = inner() . 'x' x ($padding // 0);
        for my $framing (@Wire::framings) {
            my $outer = Wire::request($method, $path, $headers, $body, $framing);
            my @methods = ($method, 'GET');
            is(Wire::statuses(Wire::answers($host, \@methods, $outer . $mark)), "$status 200", "$what: one answer ($framing)");
            # The body comes later, in parts.
            my ($head, $rest) = $outer =~ /^(.*?\r\n\r\n)(.*)$/s;
            my $half = int(length($rest) / 2);
            is(Wire::statuses(Wire::answers($host, \@methods, $head, substr($rest, 0, $half), substr($rest, $half), $mark)),
                "$status 200", "$what: one answer, when the body comes later ($framing)");
        }
    }
    # Bodies that nginx itself refuses, and frames that are none: it ends the connection, and nothing is answered behind that.
    my $broken = "POST /poolwatch/api/v1/silences HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n" . inner();
    my $ended = [
        [413, 'a body above client_max_body_size', Wire::request(POST => '/short/api/v1/silences', \%ours, inner())],
        [413, 'one in chunks',                     Wire::request(POST => '/short/api/v1/silences', \%ours, inner(), 'chunked')],
        [400, 'chunks that are none',              $broken],
        [400, 'two hosts',                         Wire::request(POST => '/poolwatch/api/v1/test', [%ours, Host => 'a', Host => 'b'], inner())],
        [412, 'a condition that does not hold',    Wire::request(GET => '/poolwatch/', { 'If-Match' => '"x"' }, inner())],
    ];
    for (@$ended) {
        my ($status, $what, $text) = @$_;
        is(Wire::statuses(Wire::answers($host, ['POST'], $text . $mark)), $status, "$what: one answer, the last one");
    }
    nothing_carried_out($host, 'none of the bodies was carried out');
    $host->finish;
});

subtest('refusals answer before the body is there', sub {
    my $host = host();
    my $text = Wire::request(POST => '/poolwatch/api/v1/silences', { Origin => 'http://evil.example' }, inner(), 'expect');
    my ($head, $body) = $text =~ /^(.*?\r\n\r\n)(.*)$/s;
    my $socket = Wire::connection($host);
    print $socket $head;
    my $said = Wire::until_seen($socket, sub { $_[0] =~ /refused/ });
    like($said, qr{^HTTP/1\.1 100 Continue\r\n\r\nHTTP/1\.1 403 }, 'whoever waits to be asked is asked, as by nginx itself');
    print $socket $body . $mark;
    is(Wire::statuses(Wire::take_apart($said . Wire::rest($socket), 'POST', 'GET')), '403 200', 'and stays in step');
    nothing_carried_out($host, 'nothing was carried out');
    $host->finish;
});

subtest('a body is read wherever nginx keeps it', sub {
    my $host = host();
    for my $location (qw(poolwatch small on clean single unlimited)) {
        for my $framing (@Wire::framings) {
            my $write = sub {
                my ($body) = @_;
                return Wire::request(POST => "/$location/api/v1/silences", \%ours, $body, $framing);
            };
            my $comment = "$location $framing";
            my $body = sprintf '{"duration": "1h", "comment": "%s"}', $comment;
            $body .= ' ' x (4096 - length $body);
            my ($answer, @more) = Wire::answers($host, ['POST', 'GET'], $write->($body) . $mark);
            is("$answer->{status} " . Wire::statuses(@more), '202 200', "a body of 4096 bytes is taken ($comment)") or diag $answer->{body};
            my ($silence) = Poolwatch::wait_until(sub { my @all = silences($host); @all && \@all }, 'the silence')->@*;
            is($silence->{comment}, $comment, 'and is the one that was sent');
            my $end = Wire::request(DELETE => "/$location/api/v1/silences/$silence->{id}", \%ours, undef, $framing);
            is(Wire::statuses(Wire::answers($host, ['DELETE', 'GET'], $end . $mark)), '202 200', 'an empty one as well');
            Poolwatch::wait_until(sub { !silences($host) }, 'its end');
            is(Wire::statuses(Wire::answers($host, ['POST', 'GET'], $write->("$body ") . $mark)), '413 200', 'one byte more is too long');
        }
    }
    my $taken = @Wire::framings;
    my @kept = glob "$host->{prefix}/client_temp/*";
    ok($taken <= @kept && @kept <= 2 * $taken, 'files stay where client_body_in_file_only is on, and only there') or diag "@kept";
    $host->finish;
});

subtest('HTTP/2', sub {
    my $host = host();
    my $connection = Http2->new($host->{ports}{H2});
    for (@outer) {
        my ($status, $what, $method, $path, $headers, $padding) = @$_;
        next if ($padding // 0) > 60_000;
        my $answer = $connection->ask($method, $path, $headers, inner() . 'x' x ($padding // 0));
        is($answer->{status}, $status, "$what is answered");
        my $has_body = $method ne 'HEAD' && $status != 304;
        is($answer->{body} ne '', $has_body, $has_body ? 'with a body' : 'without a body');
        is($connection->ask(GET => '/mark')->{status}, 200, 'and the connection goes on');
    }
    for my $location (qw(poolwatch small on clean single unlimited)) {
        my $body = sprintf '{"duration": "1h", "comment": "%s"}', $location;
        $body .= ' ' x (4096 - length $body);
        my $write = sub { $connection->ask(POST => "/$location/api/v1/silences", \%ours, @_)->{status} };
        is($write->($body), 202, "a body of 4096 bytes is taken ($location)");
        my ($silence) = Poolwatch::wait_until(sub { my @all = silences($host); @all && \@all }, 'the silence')->@*;
        is($silence->{comment}, $location, 'and is the one that was sent');
        is($connection->ask(DELETE => "/$location/api/v1/silences/$silence->{id}", \%ours)->{status}, 202, 'it can be ended');
        Poolwatch::wait_until(sub { !silences($host) }, 'its end');
        is($write->("$body "), 413, 'one byte more is too long');
    }
    my $from = sub { $connection->ask(POST => '/poolwatch/api/v1/test', { 'Content-Type' => 'application/json', @_ }, '{}')->{status} };
    is($from->(Origin => 'http://localhost'), 202, 'the origin that is the authority vouches for a write');
    is($from->(Origin => 'http://evil.example'), 403, 'another one does not');
    is($from->(Origin => 'http://evil.example', Host => 'evil.example'), 400, 'nor does it beside a host that is another as well');
    nothing_carried_out($host, 'none of the bodies was carried out');
    $host->finish;
});

subtest('behind a proxy that keeps its connection', sub {
    my $host = host();
    my $client = HTTP::Tiny->new(timeout => 10, keep_alive => 1, max_redirect => 0);
    my $front = "http://127.0.0.1:$host->{ports}{FRONT}";
    my $requests = 0;
    for (@outer) {
        my ($status, $what, $method, $path, $headers, $padding) = @$_;
        my %request = (headers => $headers, content => inner() . 'x' x ($padding // 0));
        is($client->request($method, "$front$path", \%request)->{status}, $status, "$what is answered");
        my $marked = $client->get("$front/mark");
        is($marked->{content} =~ /^mark (\d+)$/ ? $1 : $marked->{content}, $requests += 2, 'and the next answer is the next one, on the same connection');
    }
    nothing_carried_out($host, 'none of the bodies was carried out');
    $host->finish;
});

subtest('an answer is whole although the client is slow', sub {
    my $host = host();
    # The header is sent by itself, and whichever part finds the small window full has to wait.
    my $count = 2000;
    my $socket = Wire::connection($host, $host->{ports}{SLOW}, 2048);
    my $writer = fork // die $!;
    if (!$writer) {
        print $socket Wire::request(GET => '/slow/metrics') x ($count - 1), Wire::request(GET => '/slow/metrics', { Connection => 'close' });
        POSIX::_exit(0);
    }
    my @answers = Wire::take_apart(Wire::rest($socket), ('GET') x $count);
    waitpid $writer, 0;
    my $whole = grep { $_->{status} eq '200' && $_->{body} =~ /\A# HELP .*\n\z/s } @answers;
    is_deeply([scalar @answers, $whole], [$count, $count], 'each of many answers has its body');
    $host->finish;
});

subtest('asked for from within nginx', sub {
    my $host = host();
    my $page = sub {
        my ($path, @more) = @_;
        my ($answer, @rest) = Wire::answers($host, ['GET', 'GET'], Wire::request(GET => $path, @more) . $mark);
        is(Wire::statuses(@rest), '200', "$path is followed by the next answer");
        return $answer;
    };
    my $body = qr/\{"version":[^|]*\}/;
    like($page->('/ssi/page.txt')->{body}, qr/^<$body\|\{"error":"not found"\}>\n$/, 'SSI includes what is there, and what is not');
    is($page->('/asked/page.txt')->{body}, "page\n", 'auth_request gets its status and no body');
    # Behind a 500 nginx ends the connection.
    my $denied = Wire::request(GET => '/denied/page.txt') . $mark;
    is(Wire::statuses(Wire::answers($host, ['GET'], $denied)), '500', 'with one that is no answer to its question as well');
    is($page->('/after/page.txt')->{body}, "page\n", 'post_action adds nothing to the answer that was sent');
    my $lost = $page->('/lost/page.txt');
    is($lost->{status}, 404, 'error_page keeps the status');
    like($lost->{body}, qr/^$body$/, 'with what is told');
    is_deeply([@{ $page->('/empty/page.txt') }{qw(status body)}], [204, ''], 'and without, where the status has no body');
    my $posted = Wire::request(POST => '/lost/page.txt', \%ours, inner());
    is(Wire::statuses(Wire::answers($host, ['POST', 'GET'], $posted . $mark)), '404 200', 'the body of a lost request is discarded');
    nothing_carried_out($host, 'nothing was carried out');
    $host->finish;
});

done_testing;
