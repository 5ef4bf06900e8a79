package Faults;

# Incidents while a receiver is at fault, over real sockets: what no fault may change, and what each fault changed.
#
#   Faults::own_network();      # as root: the program starts again in namespaces of its own, for a name server
#   my $faults = Faults->new(rows => 30);
#   my $row = $faults->run($_) for $faults->all;
#   $faults->finish;
#
# Four receivers are sent every incident: "plain" (HTTP), "tls", "dns" (by name), and a witness that never fails. A
# fault affects one of them, an upstream goes down and comes back, the fault ends. Then the receiver must have accepted
# the last state, with every change of it in a message or in a message's count, and the witness must not have waited for
# another receiver.

use strict;
use warnings;

use File::Copy qw(copy);
use IO::Socket::INET;
use Poolwatch;
use Socket qw(SOL_SOCKET SO_LINGER);
use Test::More ();
use Time::HiRes qw(sleep time);

my $name = 'hooks.poolwatch.test';

# -- namespaces

# Gives this program a network and mounts of its own. Returns the reason if that is not possible.
sub own_network {
    if (!$ENV{POOLWATCH_OWN_NETWORK}) {
        return 'not root' if $> != 0;
        return 'unshare does not work here' if system('unshare -mn true 2>/dev/null') != 0;
        $ENV{POOLWATCH_OWN_NETWORK} = 1;
        exec 'unshare', '-mn', $^X, (map { "-I$_" } @INC), $0, @ARGV or die "unshare: $!";
    }
    # Brings "lo" up: SIOCSIFFLAGS, IFF_UP | IFF_RUNNING.
    socket my $socket, Socket::AF_INET(), Socket::SOCK_DGRAM(), 0 or die "socket: $!";
    my $request = pack 'a16 s x22', 'lo', 0x41;
    ioctl $socket, 0x8914, $request or die "lo: $!";
    return;
}

sub has_own_network { return $ENV{POOLWATCH_OWN_NETWORK} }

# -- the host

sub new {
    my ($class, %options) = @_;
    my $host = Poolwatch->new(workers => 2, %{ $options{host} // {} });
    my $self = bless { host => $host, free => [map { "app$_" } 1 .. $options{rows}], slowest => 0, statuses => {} }, $class;
    $host->app('blue');
    $host->slack;
    $host->slack('front');
    $self->make_certificates;
    $self->start_tls;
    $self->start_dns if has_own_network();
    my $receiver = sub { my ($name, $url, $more) = @_; return "poolwatch_receiver slack $url/services/T/B/$name name=$name timeout=2s $more;\n" };
    my $http = 'poolwatch_zone poolwatch ' . (128 + 256 * @{ $self->{free} }) . "k;\n"
        . $receiver->('plain', 'http://127.0.0.1:%%FRONT%%', '')
        . $receiver->('tls', 'https://127.0.0.1:%%TLS%%', "ca_file=$host->{prefix}/ca.pem")
        . (has_own_network() ? $receiver->('dns', "http://$name:%%SLACK%%", '') : '')
        . $receiver->('witness', 'http://127.0.0.1:%%SLACK%%', '');
    my $settings = 'server 127.0.0.1:%%BLUE%% max_fails=0; poolwatch on; poolwatch_error_rate off; '
        . 'poolwatch_failover on confirm=100ms; poolwatch_cooldown 0;';
    my @names = @{ $self->{free} };
    $host->write_config(
        join('', map { "upstream $_ { $settings }\n" } @names), $http,
        # By default nginx keeps connections to upstreams since 1.29.7, and each would be a descriptor more.
        join('', map { "location /$_/ { proxy_pass http://$_; proxy_set_header Connection close; }\n" } @names),
    );
    $host->start;
    $self->get("/$_/") for @names;
    $self->{before} = $self->resources;
    return $self;
}

sub finish {
    my ($self) = @_;
    $self->{tls}->finish if $self->{tls};
    $self->{host}->finish;
}

sub get {
    my ($self, $path) = @_;
    my $begin = time;
    my $status = $self->{host}->get($path)->{status};
    my $took = time - $begin;
    $self->{slowest} = $took if $took > $self->{slowest};
    $self->{statuses}{$status}++;
    return $status;
}

# Threads, descriptors and memory (KiB) of all workers.
sub resources {
    my ($self) = @_;
    my %sum = (threads => 0, descriptors => 0, memory => 0);
    for my $pid ($self->{host}->workers) {
        $sum{threads} += () = glob "/proc/$pid/task/*";
        $sum{descriptors} += () = glob "/proc/$pid/fd/*";
        open my $status, '<', "/proc/$pid/status" or next;
        /^VmRSS:\s+(\d+)/ and $sum{memory} += $1 for <$status>;
    }
    return \%sum;
}

# -- certificates

sub make_certificates {
    my ($self) = @_;
    my $dir = $self->{host}{prefix};
    my $key = 'ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes';
    my $authority = sub { "openssl req -x509 -newkey $key -keyout $_[0].key -out $_[0].pem -subj /CN=$_[0] -days 2 -addext basicConstraints=critical,CA:TRUE" };
    my $leaf = sub {
        my ($file, $ca, $san, $days) = @_;
        return "openssl req -newkey $key -keyout $file.key -out $file.csr -subj /CN=hook && echo subjectAltName=$san >$file.ext && "
            . "openssl x509 -req -in $file.csr -CA $ca.pem -CAkey $ca.key -CAcreateserial -days $days -extfile $file.ext -out $file.pem";
    };
    my @commands = (
        $authority->('ca'), $authority->('other'),
        $leaf->('good', 'ca', 'IP:127.0.0.1', 2), $leaf->('expired', 'ca', 'IP:127.0.0.1', -1),
        $leaf->('elsewhere', 'ca', 'DNS:elsewhere.example', 2), $leaf->('stranger', 'other', 'IP:127.0.0.1', 2),
    );
    for my $command (@commands) {
        system("(cd $dir && $command) >>$dir/logs/openssl.out 2>&1") == 0 or die "openssl: see $dir/logs/openssl.out";
    }
}

# TLS in front of the mock: an nginx without the module.
sub start_tls {
    my ($self) = @_;
    my $tls = $self->{tls} = Poolwatch->new(workers => 1);
    $self->{host}{ports}{TLS} = $tls->{ports}{PORT};
    $tls->{ports}{SLACK} = $self->{host}{ports}{SLACK};
    $tls->write_file('nginx.conf', $tls->fill(<<'CONF'));
worker_processes 1;
error_log logs/error.log warn;
pid nginx.pid;
events {}
http {
    access_log off;
    server {
        listen 127.0.0.1:%%PORT%% ssl;
        ssl_certificate served.pem;
        ssl_certificate_key served.key;
        location / { proxy_pass http://127.0.0.1:%%SLACK%%; }
    }
}
CONF
    $self->serve('good');
    $tls->start;
}

sub serve {
    my ($self, $certificate) = @_;
    my ($from, $tls) = ($self->{host}{prefix}, $self->{tls});
    copy("$from/$certificate.$_", "$tls->{prefix}/served.$_") or die "copy: $!" for qw(pem key);
    $tls->reload if $tls->{master};
}

# -- a name server

sub start_dns {
    my ($self) = @_;
    my $host = $self->{host};
    $host->write_file('resolv.conf', "nameserver 127.0.0.1\n");
    $self->dns('answers');
    system('mount', '--bind', "$host->{prefix}/resolv.conf", '/etc/resolv.conf') == 0 or die 'cannot mount resolv.conf';
    my $socket = IO::Socket::INET->new(Proto => 'udp', LocalAddr => '127.0.0.1:53') or die "port 53: $!";
    $host->fork_server('dns', sub {
        while (defined $socket->recv(my $query, 512)) {
            $host->note_try('dns');
            my ($id, $type) = (substr($query, 0, 2), unpack 'n', substr $query, -4, 2);
            open my $file, '<', "$host->{prefix}/dns" or next;
            my $mode = <$file>;
            my $question = substr $query, 12;
            # An address for A, none for AAAA; code 2 is the failure of a server.
            my $address = $type == 1 ? "\xc0\x0c" . pack('nnNn', 1, 1, 0, 4) . "\x7f\x00\x00\x01" : '';
            $socket->send($id . pack('nnnnn', 0x8180, 1, $type == 1, 0, 0) . $question . $address) if $mode eq 'answers';
            $socket->send($id . pack('nnnnn', 0x8182, 1, 0, 0, 0) . $question) if $mode eq 'fails';
        }
    });
}

sub dns { my ($self, $mode) = @_; $self->{host}->write_file('dns', $mode) }

# -- faults

# The mock behaves in this mode until the fault ends.
sub mock {
    my (%mode) = @_;
    my $control = sub { my ($self, %mode) = @_; local $self->{host}{ports}{SLACK} = $self->{host}{ports}{FRONT}; $self->{host}->slack_mode(%mode) };
    return (receiver => 'plain', begin => sub { $control->($_[0], %mode) }, end => sub { $control->($_[0], mode => 'ok') },
        tries => sub { my ($self) = @_; return scalar $self->captured('plain', 'count=0') });
}

# In place of the receiver, a server that does this with each connection; undef: nothing listens.
sub raw {
    my ($receiver, $handler) = @_;
    my $port = $receiver eq 'tls' ? 'TLS' : 'FRONT';
    return (
        receiver => $receiver,
        begin => sub {
            my ($self) = @_;
            my $host = $self->{host};
            if ($receiver eq 'tls') { $self->{tls}->quit('TERM') }
            else                    { $host->stop('front') }
            $host->raw_server('raw', $host->{ports}{$port}, $handler) if $handler;
        },
        end => sub {
            my ($self) = @_;
            my $host = $self->{host};
            $host->stop('raw') if $handler;
            if ($receiver eq 'tls') { $self->{tls}->start }
            else                    { $host->slack('front') }
        },
        tries => $handler && sub { my ($self) = @_; return $self->{host}->tries('raw') },
    );
}

sub certificate {
    my ($certificate) = @_;
    return (receiver => 'tls', begin => sub { $_[0]->serve($certificate) }, end => sub { $_[0]->serve('good') });
}

# New workers have no last good address.
sub lookup {
    my ($mode) = @_;
    return (receiver => 'dns', begin => sub { $_[0]->dns($mode); $_[0]{host}->reload }, end => sub { $_[0]->dns('answers') },
        tries => sub { my ($self) = @_; return $self->{host}->tries('dns') });
}

my $request = sub {
    my ($socket) = @_;
    my $text = '';
    while ($text !~ /\r\n\r\n/) { $socket->sysread($text, 4096, length $text) or last }
};

# Writes until the other side has closed the connection.
my $write = sub {
    my ($socket, $text) = @_;
    1 while $socket->syswrite($text);
    return;
};

my $drip = sub {
    my ($socket) = @_;
    $request->($socket);
    for my $byte (split //, "HTTP/1.1 200 OK\r\n") {
        $socket->syswrite($byte) or return;
        sleep 1;
    }
    return;
};

my $reset = sub {
    my ($socket) = @_;
    setsockopt $socket, SOL_SOCKET, SO_LINGER, pack('ii', 1, 0);
    $socket->close;
    return;
};

# The faults by name; "brief" ones also run in `make test`. Duplicates are bounded by the tries that the mock accepted
# without an answer; nothing else may cause one.
sub all {
    my ($self) = @_;
    my $limited = sub { my ($seconds) = @_; return mock(mode => 'rate_limited', retry_after => $seconds, times => 1) };
    my @faults = (
        ['refused', 1, raw('plain', undef), says => qr/cannot be reached/],
        ['accepts and never answers', 1, raw('plain', sub { return $_[0] }), says => qr/did not answer in time/],
        ['reads and never answers', 0, mock(mode => 'hang'), says => qr/did not answer in time/],
        ['posted, and no answer', 1, mock(mode => 'posted_no_answer'), says => qr/did not answer in time/, unsure => 1],
        ['a byte of header a second', 1, raw('plain', $drip), says => qr/did not answer in time/],
        ['a byte of body a second', 0, mock(mode => 'drip'), says => qr/answered 200/],
        ['endless body', 1, mock(mode => 'endless'), says => qr/answered 200/],
        ['endless header', 0, raw('plain', sub { $request->(@_); $write->($_[0], "HTTP/1.1 200 OK\r\nX: " . 'x' x 4096) }), says => qr/not HTTP/],
        ['reset when connected', 0, raw('plain', sub { $reset->(@_) }), says => qr/cannot be reached/],
        ['reset when asked', 1, raw('plain', sub { $request->(@_); $reset->(@_) }), says => qr/cannot be reached/],
        ['closed without an answer', 0, raw('plain', sub { $request->(@_); $_[0]->close; return }), says => qr/cannot be reached/],
        ['garbage', 1, raw('plain', sub { $request->(@_); $_[0]->syswrite(pack 'C*', map { int rand 256 } 1 .. 512); return }), says => qr/cannot be/],
        ['500 with a page', 0, mock(mode => 'refuse', status => 500, body => '<html>sorry</html>'), says => qr/answered 500/],
        ['503, then well, then 503', 1, mock(mode => 'flapping', status => 503), says => qr/answered 503/, flaps => 1],
        ['200 with a page', 1, mock(mode => 'html'), says => qr/answered 200/],
        ['302', 1, mock(mode => 'redirect', location => 'http://127.0.0.1:1/'), says => qr/answered 302, a redirect/, broken => 1],
        ['404 no_service', 1, mock(mode => 'refuse', status => 404, body => 'no_service'), says => qr/answered 404 "no_service"/, broken => 1],
        ['410 channel_is_archived', 0, mock(mode => 'refuse', status => 410, body => 'channel_is_archived'), says => qr/answered 410/, broken => 1],
        ['400 for blocks', 0, mock(mode => 'refuse_blocks'), says => undef],
        ['429, Retry-After: 2', 1, $limited->('2'), says => qr/asks for a pause/],
        ['429, Retry-After: 0', 0, $limited->('0'), says => qr/asks for a pause/],
        ['429, Retry-After: -1', 1, $limited->('-1'), says => qr/asks for a pause/],
        ['429, Retry-After: 1e12', 0, $limited->('1e12'), says => qr/asks for a pause/],
        ['429, Retry-After: a date', 0, $limited->('Fri, 31 Dec 1999 23:59:59 GMT'), says => qr/asks for a pause/],
        ['429, Retry-After: garbage', 0, $limited->("soon \xa7"), says => qr/asks for a pause/],
        ['TLS expired', 1, certificate('expired'), says => qr/cannot be trusted \(.*[Ee]xpired/],
        ['TLS for another name', 1, certificate('elsewhere'), says => qr/cannot be trusted/],
        ['TLS of an unknown authority', 1, certificate('stranger'), says => qr/cannot be trusted \(.*UnknownIssuer/],
        ['TLS mute', 1, raw('tls', sub { return $_[0] }), says => qr/did not answer in time/],
        ['no TLS spoken', 0, raw('tls', sub { $_[0]->syswrite("220 mail.example ESMTP\r\n"); return $_[0] }), says => qr/cannot be trusted/],
    );
    push @faults, (
        ['DNS fails', 1, lookup('fails'), says => qr/does not resolve/],
        ['DNS hangs', 1, lookup('hangs'), says => qr/does not resolve|did not answer in time/],
    ) if has_own_network();
    return map { my ($title, $brief, %how) = @$_; { title => $title, brief => $brief, %how } } @faults;
}

# -- a fault and its incidents

# The messages that arrived at this receiver.
sub captured {
    my ($self, $receiver, $query) = @_;
    my $host = $self->{host};
    local $host->{ports}{SLACK} = $host->{ports}{FRONT} if $receiver eq 'plain';
    return $host->captured("path=/services/T/B/$receiver&$query");
}

# What this receiver accepted: for each upstream its revisions in order, each with how many more the message counts.
sub told {
    my ($self, $receiver) = @_;
    my %told;
    for my $message ($self->captured($receiver, 'accepted=true')) {
        my ($upstream, $number, $change) = $message->{raw} =~ m{(app\d+)/serving/(\d+).{1,40}?change (\d+)} or next;
        my $generation = $number + $change - 1;
        my ($more) = $message->{raw} =~ /(\d+) more change/;
        push @{ $told{$upstream} }, [$generation, $more // 0];
    }
    return \%told;
}

sub has_heard {
    my ($self, $receiver, $generation, @names) = @_;
    my $told = $self->told($receiver);
    return @names == grep { my $all = $told->{$_}; $all && $all->[-1][0] == $generation } @names;
}

# Does the sender know that this receiver accepted the end of each incident? What it only suspects it sends again.
sub is_settled {
    my ($log, $receiver, @names) = @_;
    my $knows = sub { return $log =~ /receiver "$receiver" (?:accepted message $_[0]\/serving\/1 change 2\b|accepts messages again while reporting recovery of upstream "$_[0]")/ };
    return @names == grep { $knows->($_) } @names;
}

# Makes all these upstreams go down, or come back.
sub turn {
    my ($self, $down, @names) = @_;
    my $host = $self->{host};
    $host->chaos('blue', $down ? 'error' : undef);
    my $line = $down ? 'outage' : 'recovery';
    for my $name (@names) {
        my $is_said = sub { $self->get("/$name/"); return $host->error_log =~ /: $line of upstream "$name"/ };
        Poolwatch::wait_until($is_said, "the $line of $name", 20);
    }
}

# Makes upstreams go down and come back while the fault lasts, at least for this many seconds. Returns the numbers of
# the row, and what is wrong.
sub run {
    my ($self, $fault, $incidents, $seconds) = @_;
    my $host = $self->{host};
    my @names = splice @{ $self->{free} }, 0, $incidents // 1;
    my ($receiver, $tries) = @$fault{qw(receiver tries)};
    $host->forget;
    { local $host->{ports}{SLACK} = $host->{ports}{FRONT}; $host->forget }
    $host->forget_tries;
    my $before = length $host->error_log;
    my $log = sub { return substr $host->error_log, $before };
    my $lines = sub { my ($level) = @_; return scalar(() = $log->() =~ /\[$level\][^\n]*: receiver "$receiver"/g) };

    $fault->{begin}->($self);
    $self->turn(1, @names);
    # If only one try is bad, no second one follows.
    my $wanted = $fault->{broken} || $fault->{title} =~ /^429/ || !defined $fault->{says} ? 1 : 2;
    Poolwatch::wait_until(sub { $tries->($self) >= $wanted }, 'the receiver to be tried', 30) if $tries;
    Poolwatch::wait_until(sub { $lines->('error') }, 'the error line', 30) if defined $fault->{says};
    sleep $seconds if $seconds;
    $self->turn(0, @names);
    Poolwatch::wait_until(sub { $self->has_heard('witness', 2, @names) }, 'the witness to hear all', 30);
    my $tried = $tries ? $tries->($self) : '';
    $fault->{end}->($self);
    $host->reload if $fault->{broken};
    Poolwatch::wait_until(sub { $self->has_heard($receiver, 2, @names) }, 'the receiver to hear the truth', 90);
    Poolwatch::wait_until(sub { is_settled($log->(), $receiver, @names) }, 'the sender to know', 90);
    Poolwatch::wait_until(sub { $lines->('notice') == $lines->('error') }, 'the line that it accepts again', 10);

    my ($accepted, $lost, $duplicates) = (0, 0, 0);
    my $told = $self->told($receiver);
    for my $name (@names) {
        my %times;
        my @all = @{ $told->{$name} };
        $times{ $_->[0] }++ for @all;
        $accepted += @all;
        $duplicates += @all - keys %times;
        my %covered = map { my ($last, $more) = @$_; map { $_ => 1 } $last - $more .. $last } @all;
        $lost += grep { !$covered{$_} } 1, 2;
    }
    return {
        title => $fault->{title}, tried => $tried, incidents => scalar @names, accepted => $accepted, lost => $lost,
        duplicates => $duplicates, bound => $fault->{unsure} ? $tried : 0, wrong => $self->what_is_wrong($fault, $log->(), $lines, scalar @names),
    };
}

sub what_is_wrong {
    my ($self, $fault, $log, $lines, $incidents) = @_;
    my @wrong;
    my $errors = $lines->('error');
    my $expected = defined $fault->{says} ? 1 : 0;
    # One line. With several incidents, another worker's exchange may fail after the first message that was accepted
    # again.
    my $most = $expected && $incidents > 1 ? $self->{host}{workers} : $expected;
    push @wrong, "$errors error lines" if $errors < $expected || ($errors > $most && !$fault->{flaps});
    my $line = qr/\[error\][^\n]*: receiver "$fault->{receiver}" [^\n]*/;
    push @wrong, 'the error line does not say why' if $expected && $log !~ /$line?$fault->{says}/;
    my ($other) = $log =~ /\[error\][^\n]*: receiver "(?!$fault->{receiver}")(\w+)"/;
    push @wrong, "receiver $other failed as well" if $other;
    my @odd = grep { $_ != 200 && $_ != 500 } keys %{ $self->{statuses} };
    push @wrong, "requests answered @odd" if @odd;
    my $before = $self->{before};
    my $is_flat = sub {
        my $now = $self->resources;
        return $now->{threads} <= $before->{threads} && $now->{descriptors} <= $before->{descriptors};
    };
    # A lookup under way is a thread, for as long as the C library takes.
    if (!eval { Poolwatch::wait_until($is_flat, 'calm', 30) }) {
        my $now = $self->resources;
        push @wrong, "threads $before->{threads} -> $now->{threads}, descriptors $before->{descriptors} -> $now->{descriptors}";
    }
    my $grown = $self->resources->{memory} - $before->{memory};
    push @wrong, "memory grew by $grown KiB" if $grown > 16_384;
    return join '; ', @wrong;
}

1;
