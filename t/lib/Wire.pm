package Wire;

# HTTP as the bytes that are sent: requests with every framing, several on one connection; and each answer, parsed by
# the rules of RFC 9112, so that one byte too many or too few is noticed. A client library would hide both.
#
#   my $text = Wire::request(POST => '/path', { Origin => 'http://a' }, $body, 'chunked');
#   my @answers = Wire::answers($host, ['POST', 'GET'], $text . Wire::request(GET => '/mark', { Connection => 'close' }));
#   $answers[0]{status};  $answers[0]{headers}{location};  $answers[0]{body};

use strict;
use warnings;

use IO::Select;
use IO::Socket;
use Time::HiRes qw(time);

our @framings = ('length', 'chunked', 'expect', 'HTTP/1.0');

# The bytes of one request. Headers are a hash, or a list of pairs if a name occurs twice.
sub request {
    my ($method, $path, $headers, $body, $framing) = @_;
    $framing //= 'length';
    my $version = $framing eq 'HTTP/1.0' ? $framing : 'HTTP/1.1';
    my @headers = ref $headers eq 'HASH' ? %$headers : @{ $headers // [] };
    my %has = @headers;
    push @headers, Host => 'localhost' if !exists $has{Host};
    push @headers, Connection => 'keep-alive' if $framing eq 'HTTP/1.0';
    push @headers, Expect => '100-continue' if $framing eq 'expect';
    my $content = $body // '';
    if ($framing eq 'chunked') {
        push @headers, 'Transfer-Encoding' => 'chunked';
        $content = join '', map { sprintf "%x\r\n%s\r\n", length, $_ } $content =~ /(.{1,1000})/gs;
        $content .= "0\r\n\r\n";
    }
    elsif (defined $body) {
        push @headers, 'Content-Length' => length $body;
    }
    my $text = "$method $path $version\r\n";
    while (my ($name, $value) = splice @headers, 0, 2) { $text .= "$name: $value\r\n" }
    return "$text\r\n$content";
}

# The answers to requests with these methods. The last request must ask to close the connection. Bytes that belong to no
# answer are returned as one more, without a status.
sub answers {
    my ($host, $methods, @texts) = @_;
    my $socket = connection($host);
    local $SIG{PIPE} = 'IGNORE';
    print $socket $_ for @texts;
    return take_apart(rest($socket), @$methods);
}

# A connection whose receive buffer has about this many bytes.
sub connection {
    my ($host, $port, $buffer) = @_;
    my $socket = IO::Socket->new;
    $socket->socket(PF_INET, SOCK_STREAM, 0) or die "socket: $!";
    $socket->setsockopt(SOL_SOCKET, SO_RCVBUF, $buffer) if $buffer;
    $socket->connect(pack_sockaddr_in($port // $host->{ports}{PORT}, INADDR_LOOPBACK)) or die "connect: $!";
    binmode $socket;
    $socket->autoflush(1);
    return $socket;
}

# All bytes that still come.
sub rest {
    my ($socket) = @_;
    return until_seen($socket, sub { 0 });
}

# The bytes that come until they satisfy the condition, or until the connection ends.
sub until_seen {
    my ($socket, $seen) = @_;
    my ($text, $until, $select) = ('', time + 10, IO::Select->new($socket));
    until ($seen->($text)) {
        my $left = $until - time;
        die "nothing more came after:\n$text\n" if $left <= 0 || !$select->can_read($left);
        last if !sysread $socket, $text, 65536, length $text;
    }
    return $text;
}

sub take_apart {
    my ($text, @methods) = @_;
    my @answers;
    while ($text ne '') {
        if ($text !~ s{^HTTP/1\.1 (\d{3}) [^\r\n]*\r\n((?:[^\r\n]+\r\n)*)\r\n}{}) {
            push @answers, { status => 'none', body => $text };
            last;
        }
        my ($status, %headers) = ($1, map { /^([^:]+):\s*(.*)$/ ? (lc $1 => $2) : () } split /\r\n/, $2);
        next if $status == 100;
        my $method = shift @methods // '';
        my $body = '';
        if ($method eq 'HEAD' || $status == 204 || $status == 304) { }
        elsif (($headers{'transfer-encoding'} // '') eq 'chunked') {
            while ($text =~ s/^([0-9a-f]+)\r\n//i && (my $size = hex $1)) {
                $body .= substr $text, 0, $size, '';
                $text =~ s/^\r\n//;
            }
            $text =~ s/^\r\n//;
        }
        elsif (defined $headers{'content-length'}) { $body = substr $text, 0, $headers{'content-length'}, '' }
        else                                       { ($body, $text) = ($text, '') }
        push @answers, { status => $status, headers => \%headers, body => $body };
    }
    return @answers;
}

# The statuses of the answers, for a comparison.
sub statuses { return join ' ', map { $_->{status} } @_ }

1;
