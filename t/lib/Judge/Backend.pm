package Judge::Backend;

# The hostile servers of the judge, in one process: HTTP, FastCGI, uwsgi, SCGI and memcached on many addresses. What a
# server does with a request stands in the request's path: /~200,500;close~/ means that of the first upstream the first
# server answers 200 and the second one 500, and that of the second upstream each server closes the connection. A
# request that says nothing of this server is answered with 200.
#
#   serve(@endpoints);   # { address, protocol, part, server, pool, accel }, part and server from 0

use strict;
use warnings;

use Errno qw(EAGAIN EWOULDBLOCK EINTR);
use IO::Poll qw(POLLIN POLLOUT);
use IO::Socket::INET;
use IO::Socket::UNIX;
use Socket qw(SOL_SOCKET SO_LINGER SOMAXCONN);

my $FASTCGI_END_OF_INPUT = "\x01\x05\x00\x01\x00\x00\x00\x00";

# Listens; a caller that forks afterwards knows that clients can connect.
sub listen_on {
    my ($endpoint) = @_;
    my $address = $endpoint->{address};
    my $listener = $address =~ m{^unix:(.*)}
        ? IO::Socket::UNIX->new(Listen => SOMAXCONN, Local => $1)
        : IO::Socket::INET->new(Listen => SOMAXCONN, LocalAddr => $address, ReuseAddr => 1);
    $listener or die "$address: $!";
    chmod 0777, $1 if $address =~ m{^unix:(.*)};
    $listener->blocking(0);
    return { %$endpoint, socket => $listener };
}

sub serve {
    my (@listeners) = @_;
    my $poll = IO::Poll->new;
    my (%listeners, %connections);
    for my $listener (@listeners) {
        $listeners{ $listener->{socket} } = $listener;
        $poll->mask($listener->{socket} => POLLIN);
    }
    my $drop = sub {
        my ($connection) = @_;
        $poll->remove($connection->{socket});
        delete $connections{ $connection->{socket} };
        close $connection->{socket};
    };
    while (1) {
        $poll->poll(1);
        for my $socket ($poll->handles(POLLIN | POLLOUT | IO::Poll::POLLHUP() | IO::Poll::POLLERR())) {
            if (my $listener = $listeners{$socket}) {
                while (my $client = $listener->{socket}->accept) {
                    $client->blocking(0);
                    $connections{$client} = { socket => $client, endpoint => $listener, in => '', out => '' };
                    $poll->mask($client => POLLIN);
                }
                next;
            }
            my $connection = $connections{$socket} or next;
            my $ended = !read_and_answer($connection) || !write_out($connection);
            if ($ended) { $drop->($connection) }
            else        { $poll->mask($socket => POLLIN | (length $connection->{out} ? POLLOUT : 0)) }
        }
    }
}

# 0: the connection is over.
sub read_and_answer {
    my ($connection) = @_;
    my $count = sysread $connection->{socket}, $connection->{in}, 65536, length $connection->{in};
    if (!defined $count) { return $!{EAGAIN} || $!{EWOULDBLOCK} || $!{EINTR} }
    return 0 if !$count;
    return 1 if $connection->{is_deaf} || !is_complete($connection);
    my $request = $connection->{in};
    $connection->{in} = '';
    if ($connection->{is_stale}) { return 0 }
    return answer($connection, $request);
}

sub write_out {
    my ($connection) = @_;
    while (length $connection->{out}) {
        my $count = syswrite $connection->{socket}, $connection->{out}, 65536;
        if (!defined $count) { return $!{EAGAIN} || $!{EWOULDBLOCK} || $!{EINTR} }
        substr $connection->{out}, 0, $count, '';
    }
    return !$connection->{ends};
}

sub is_complete {
    my ($connection) = @_;
    my ($protocol, $in) = ($connection->{endpoint}{protocol}, $connection->{in});
    return index($in, $FASTCGI_END_OF_INPUT) >= 0 if $protocol eq 'fastcgi';
    return length $in >= 4 && length $in >= 4 + unpack 'x v', $in if $protocol eq 'uwsgi';
    return $in =~ /^(\d+):/ && length $in >= length("$1:,") + $1 if $protocol eq 'scgi';
    return $in =~ /\r\n$/ if $protocol eq 'memcached';
    # A client that speaks TLS is answered, too: in plain text.
    return 1 if $in =~ /^\x16/;
    my $end = index $in, "\r\n\r\n";
    return 0 if $end < 0;
    return $in =~ /^Content-Length: (\d+)/mi ? length $in >= $end + 4 + $1 : 1;
}

# What the plan in a path says that this server does.
sub behaviour {
    my ($path, $part, $server) = @_;
    my ($plan) = $path =~ /~([a-z0-9,;]+)~/ or return '200';
    my @parts = split /;/, $plan;
    my @servers = split /,/, $parts[$part] // '';
    return $servers[$server] // $servers[-1] // '200';
}

sub answer {
    my ($connection, $request) = @_;
    my $endpoint = $connection->{endpoint};
    my $part = $request =~ m{/second/} ? 1 : $endpoint->{part};
    my $does = behaviour($request, $part, $endpoint->{server});
    if ($does eq 'close') { return 0 }
    if ($does eq 'reset') { setsockopt $connection->{socket}, SOL_SOCKET, SO_LINGER, pack 'ii', 1, 0; return 0 }
    if ($does eq 'hang') { $connection->{is_deaf} = 1; return 1 }
    my $keeps = $endpoint->{protocol} eq 'http' && $request =~ m{^\S+ \S+ HTTP/1\.1\r\n} && $request !~ /^Connection: close/mi;
    my ($out, $stays) = response($endpoint, $does, $request);
    $connection->{out} .= $out;
    $connection->{is_stale} = $does eq 'stale';
    $connection->{is_deaf} = $does eq '101';
    $connection->{ends} = !($keeps && $stays) || $does eq '101';
    return 1;
}

# The bytes, and whether the connection may be used again.
sub response {
    my ($endpoint, $does, $request) = @_;
    if ($does eq 'garbage') { return ("garbage, and no header\n", 0) }
    my $protocol = $endpoint->{protocol};
    return (memcached($does, $request), 0) if $protocol eq 'memcached';

    my ($status) = $does =~ /^(?:hint)?(\d+)$/;
    $status //= 200;
    my $is_http = $protocol eq 'http';
    my @lines = ($is_http ? "HTTP/1.1 $status Whatever" : "Status: $status Whatever", 'Content-Type: text/html');
    push @lines, "X-App-Pool: $endpoint->{pool}" if $endpoint->{pool};
    if ($does eq 'halfhead') { return (wrapped($protocol, join "\r\n", @lines, 'X-Half: '), 0) }
    push @lines, 'X-Big: ' . 'x' x 20_000 if $does eq 'bighead';
    push @lines, 'Location: /elsewhere' if $status == 302;
    push @lines, 'Connection: Upgrade', 'Upgrade: websocket' if $status == 101;
    push @lines, 'Last-Modified: Sat, 21 Nov 2026 10:00:00 GMT' if $status == 200;
    if ($does eq 'accel') {
        my ($path) = $request =~ m{(/[a-z0-9_]+/~[^\s\0]*)};
        push @lines, "X-Accel-Redirect: $endpoint->{accel}$path";
    }
    my $body = $does eq 'big' ? 'x' x 300_000 : $status == 200 ? $endpoint->{body} // 'good' : 'other';
    $body =~ s/%PATH%/($request =~ m{^\S+ (\S+)})[0]/ge;
    if ($does eq 'noheaders') { return (wrapped($protocol, ($is_http ? 'HTTP/1.1 200 OK' : 'Status: 200 OK') . "\r\n\r\n$body"), 0) }
    my ($from, $to, $size) = $request =~ /^Range: bytes=(\d+)-(\d+)/mi ? ($1, $2, 10_000) : ();
    if (defined $from && $status == 200) {
        $to = $size - 1 if $to >= $size;
        $body = 'x' x ($to - $from + 1);
        $lines[0] = $is_http ? 'HTTP/1.1 206 Partial' : 'Status: 206 Partial';
        push @lines, "Content-Range: bytes $from-$to/$size", 'ETag: "slice"';
    }
    my $may_have_body = $status !~ /^(?:101|204|304)$/;
    my $length = length($body) + ($does eq 'halfbody' ? 1_000 : 0);
    push @lines, "Content-Length: $length" if $may_have_body;
    $body = '' if !$may_have_body || $request =~ /^HEAD /;
    my $early = $does =~ /^hint/ ? "HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n" : '';
    return ($early, 0) if $does eq 'hintclose';
    my $all = join("\r\n", @lines, '', '') . $body;
    return ($early . wrapped($protocol, $all), $does ne 'halfbody');
}

sub wrapped {
    my ($protocol, $bytes) = @_;
    return $bytes if $protocol ne 'fastcgi';
    my $records = '';
    for my $part (unpack '(a32768)*', $bytes) {
        $records .= pack('CCnnCC', 1, 6, 1, length $part, 0, 0) . $part;
    }
    return $records . pack('CCnnCC', 1, 6, 1, 0, 0, 0) . pack('CCnnCC', 1, 3, 1, 8, 0, 0) . "\0" x 8;
}

sub memcached {
    my ($does, $request) = @_;
    my ($key) = $request =~ /^get (\S+)/;
    return "END\r\n" if $does eq '404';
    return "VALUE $key 0 10\r\nha" if $does eq 'halfbody';
    return "VALUE $key" if $does eq 'halfhead';
    return "ERROR\r\n" if $does ne '200';
    return "VALUE $key 0 4\r\ngood\r\nEND\r\n";
}

1;
