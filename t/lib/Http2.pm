package Http2;

# One HTTP/2 connection, frame by frame (RFC 9113): which frames belong to an answer, and that none follows its end.
#
#   my $connection = Http2->new($port);
#   my $answer = $connection->ask(POST => '/path', { origin => 'http://a' }, $body);
#   $answer->{status};  $answer->{body};
#
# `ask` dies when the connection breaks, or when a frame comes that belongs to no open stream.

use strict;
use warnings;

use IO::Select;
use IO::Socket::INET;
use Time::HiRes qw(time);

my %type = (data => 0, headers => 1, rst => 3, settings => 4, ping => 6, goaway => 7, window => 8, continuation => 9);
my %name = reverse %type;
my ($END_STREAM, $ACK, $END_HEADERS) = (1, 1, 4);
# The entries of HPACK's static table that have a whole `:status`.
my %status = (0x88 => 200, 0x89 => 204, 0x8a => 206, 0x8b => 304, 0x8c => 400, 0x8d => 404, 0x8e => 500);

sub new {
    my ($class, $port) = @_;
    my $socket = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $port, Timeout => 5) or die "connect: $!";
    binmode $socket;
    $socket->autoflush(1);
    my $self = bless { socket => $socket, stream => -1, got => '' }, $class;
    # Windows so large that no answer has to wait.
    print $socket "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" . frame('settings', 0, 0, pack 'n N', 4, 2**30) . frame('window', 0, 0, pack 'N', 2**30);
    return $self;
}

# Sends a request and returns its answer: status, headers as they are packed, body. A request body of at most 64 KB fits
# into nginx's window.
sub ask {
    my ($self, $method, $path, $headers, $body) = @_;
    local $SIG{PIPE} = 'IGNORE';
    my $id = $self->{stream} += 2;
    my @fields = (':method' => $method, ':path' => $path, ':scheme' => 'http', ':authority' => 'localhost');
    push @fields, map { (lc $_ => $headers->{$_}) } sort keys %$headers;
    push @fields, 'content-length' => length $body if defined $body;
    my $block = '';
    # Literal, not indexed, not compressed.
    while (my ($name, $value) = splice @fields, 0, 2) { $block .= "\0" . text($name) . text($value) }
    my $request = frame('headers', $END_HEADERS | (defined $body ? 0 : $END_STREAM), $id, $block);
    if (defined $body) {
        my @parts = $body =~ /(.{1,16000})/gs;
        $request .= frame('data', $_ == $#parts ? $END_STREAM : 0, $id, $parts[$_]) for 0 .. $#parts;
    }
    print { $self->{socket} } $request;
    my %answer = (body => '');
    until ($answer{ended}) {
        my ($type, $flags, $stream, $payload) = $self->next_frame;
        die "a frame of stream $stream while $id is open: $type\n" if $stream && $stream != $id && $type ne 'rst';
        die "the connection is over: " . unpack('x4 N', $payload) . "\n" if $type eq 'goaway';
        next if !$stream || $stream != $id;
        # NO_ERROR after a complete answer: nginx did not read the rest of the request's body.
        die "the stream is reset: " . unpack('N', $payload) . "\n" if $type eq 'rst';
        $answer{body} .= $payload if $type eq 'data';
        if ($type eq 'headers') {
            # The table may first get a new size.
            $payload =~ s/^[\x20-\x3f]//;
            my ($first, $value) = unpack 'C x a3', $payload;
            $answer{status} = $status{$first} // ($first == 0x48 ? $value : die sprintf "status 0x%x\n", $first);
            $answer{packed} = $payload;
        }
        $answer{ended} = $flags & $END_STREAM if $type eq 'data' || $type eq 'headers';
    }
    return \%answer;
}

sub next_frame {
    my ($self) = @_;
    $self->more(9);
    my ($high, $low, $type, $flags, $stream) = unpack 'C n C C N', $self->{got};
    my $length = $high << 16 | $low;
    $self->more(9 + $length);
    my $payload = substr $self->{got}, 9, $length;
    substr $self->{got}, 0, 9 + $length, '';
    return ($name{$type} // $type, $flags, $stream & 0x7fff_ffff, $payload);
}

sub more {
    my ($self, $length) = @_;
    my $until = time + 10;
    while (length $self->{got} < $length) {
        die "no frame came\n" if !IO::Select->new($self->{socket})->can_read($until - time);
        sysread $self->{socket}, $self->{got}, 65536, length $self->{got} or die "the connection is closed\n";
    }
}

sub frame {
    my ($type, $flags, $stream, $payload) = @_;
    my $length = length $payload;
    return pack('C n C C N', $length >> 16, $length & 0xffff, $type{$type}, $flags, $stream) . $payload;
}

# A string, with its length as HPACK writes it.
sub text {
    my ($text) = @_;
    my $length = length $text;
    my $packed = '';
    if ($length < 127) { $packed = chr $length }
    else {
        ($packed, $length) = ("\x7f", $length - 127);
        while ($length > 127) { ($packed, $length) = ($packed . chr($length & 0x7f | 0x80), $length >> 7) }
        $packed .= chr $length;
    }
    return $packed . $text;
}

1;
