package Judge;

# Sends a mix of requests through a real nginx, and compares what nginx wrote into its access log with what Poolwatch
# counted: requests and attempts by result, responses by status class, of each upstream, pool and peer.
#
#   my $judge = Judge->new(seed => 1, requests => 3000);
#   $judge->run;
#   $judge->table;          # lines: for each kind of upstream its requests, attempts and differences
#   $judge->differences;    # lines: what differs, with examples of the log
#
# The same seed gives the same requests. Judge::Shapes has the upstreams, Judge::Backend the servers, Judge::Truth what
# the log says.

use strict;
use warnings;

use IO::Select;
use IO::Socket::INET;
use JSON::PP ();
use Judge::Backend;
use Judge::Shapes qw(shapes);
use Judge::Truth;
use POSIX ();
use Poolwatch;
use Time::HiRes qw(sleep time);

my $CLIENTS = 8;
my $SECONDS_TO_COUNT = 10;
my @TLS_STATUSES = qw(200 204 302 403 404 429 500 502 503 504);

sub new {
    my ($class, %options) = @_;
    my $self = bless { seed => 1, requests => 2000, %options }, $class;
    $self->{host} = Poolwatch->new(workers => $self->{workers} // 2);
    $self->{version} = Poolwatch::number(Poolwatch::version());
    $self->{host}{ports}{$_} = Poolwatch::free_port() for qw(HTTP FASTCGI UWSGI SCGI MEMCACHED TLS H2 H2S);
    $self->make_certificates;
    $self->{skipped} = [];
    $self->{shapes} = [ grep { $self->can_have($_) } shapes(other_certificate => "$self->{host}{prefix}/other.pem") ];
    $self->place_servers;
    return $self;
}

sub run {
    my ($self) = @_;
    my $host = $self->{host};
    mkdir "$host->{prefix}/$_" for qw(html store sockets);
    chmod 0777, "$host->{prefix}/store";
    $host->write_file('html/file', 'file');
    my @listeners = map { Judge::Backend::listen_on($_) } @{ $self->{endpoints} };
    $host->fork_server('backend', sub { $host->{listeners} = undef; Judge::Backend::serve(@listeners) });
    close $_->{socket} for @listeners;
    $self->write_config(0);
    $host->start;

    $self->learn_pools;
    my @requests = $self->mix;
    my $rounds = 4;
    for my $round (0 .. $rounds - 1) {
        my @part = @requests[ $round * @requests / $rounds .. ($round + 1) * @requests / $rounds - 1 ];
        my @clients = $self->send_all(@part);
        # The next configuration, in the middle of the traffic: the changing upstream gains or loses a server.
        if ($round < $rounds - 1) {
            $self->write_config($round % 2 ? 0 : 1);
            $host->reload;
        }
        waitpid $_, 0 for @clients;
    }
    $self->compare;
}

sub table       { my ($self) = @_; return @{ $self->{table} } }
sub differences { my ($self) = @_; return @{ $self->{differences} } }

# -- what nginx can

sub can_have {
    my ($self, $shape) = @_;
    my $nginx = Poolwatch::nginx();
    $self->{build} //= `$nginx -V 2>&1`;
    my $why = $shape->{since} && $self->{version} < Poolwatch::number($shape->{since}) ? "needs nginx $shape->{since}"
        : $shape->{needs} && $self->{build} !~ /--with-http_$shape->{needs}_module/ ? "needs $shape->{needs}"
        :                                                                             '';
    push @{ $self->{skipped} }, "$shape->{name}: $why" if $why;
    return !$why;
}

sub skipped { my ($self) = @_; return @{ $self->{skipped} } }

sub make_certificates {
    my ($self) = @_;
    for my $name (qw(server other)) {
        my $file = "$self->{host}{prefix}/$name";
        system("openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=$name -keyout $file.key -out $file.pem >$file.out 2>&1") == 0 or die "openssl: see $file.out";
    }
}

# -- where servers are

# Gives each block and each of its servers an address. Backends listen at those that are not dead.
sub place_servers {
    my ($self) = @_;
    my $number = 0;
    my $ports = $self->{host}{ports};
    my %port = (http => $ports->{HTTP}, fastcgi => $ports->{FASTCGI}, uwsgi => $ports->{UWSGI}, scgi => $ports->{SCGI}, memcached => $ports->{MEMCACHED}, tls => $ports->{TLS}, h2 => $ports->{H2}, h2s => $ports->{H2S});
    for my $shape (@{ $self->{shapes} }) {
        my $part = 0;
        my $before;
        for my $block (@{ $shape->{blocks} }) {
            $number++;
            $block->{part} = $part++;
            my $is_unix = $block->{protocol} eq 'unix';
            for my $server (0 .. $block->{servers} - 1 + ($block->{changes} ? 1 : 0)) {
                my $address = $is_unix ? $self->socket_path($block, $server) : "127.1.$number." . ($server + 1) . ":$port{ $block->{protocol} }";
                # The second block of a pair has the first one's servers in the other order.
                $address = $before->{addresses}[ 1 - $server ] if ($block->{pair} // '') eq 'second';
                push @{ $block->{addresses} }, $address;
                next if grep { $_ == $server } @{ $block->{dead} // [] };
                if (grep { $_ == $server } @{ $block->{full} // [] }) {
                    push @{ $self->{full} }, full_listener($address);
                    next;
                }
                my $pool = $block->{pools} eq 'header' ? pool_name($server) : '';
                my $endpoint = { address => $address, protocol => $is_unix ? 'http' : $block->{protocol}, part => $block->{part}, server => $server, pool => $pool, accel => $block->{accel}, body => $block->{body} };
                push @{ $self->{ $block->{protocol} =~ /^(?:tls|h2s?)$/ ? 'nginx_servers' : 'endpoints' } }, $endpoint if ($block->{pair} // '') ne 'second';
            }
            $before = $block;
        }
    }
}

# A listener that takes no connection, and whose queue is full: nobody answers a SYN.
sub full_listener {
    my ($address) = @_;
    my $listener = IO::Socket::INET->new(Listen => 1, LocalAddr => $address, ReuseAddr => 1) or die "$address: $!";
    my @queued = map { IO::Socket::INET->new(PeerAddr => $address, Blocking => 0) } 1 .. 4;
    return [ $listener, @queued ];
}

# nginx takes paths of up to 107 bytes.
sub socket_path {
    my ($self, $block, $server) = @_;
    my $start = "$self->{host}{prefix}/sockets/$block->{name}";
    my $filling = $block->{long} ? 106 - length $start : 0;
    return "unix:$start" . 'x' x $filling . $server;
}

# A server's number in the block that owns it: the second block of a pair has the first one's in the other order.
sub identity {
    my ($block, $server) = @_;
    return ($block->{pair} // '') eq 'second' ? 1 - $server : $server;
}

sub pool_name { return $_[0] % 2 ? 'green' : 'blue' }

# -- nginx's configuration

sub write_config {
    my ($self, $step) = @_;
    my @blocks = map { @{ $_->{blocks} } } @{ $self->{shapes} };
    $self->{host}->write_config(
        join('', map { upstream($_, $step) } @blocks),
        join("\n", $self->http_directives, $self->nginx_backends),
        join("\n", 'access_log logs/judge.log judge; log_subrequest on; keepalive_timeout 0; root html; proxy_connect_timeout 500ms; proxy_read_timeout 200ms; grpc_read_timeout 200ms;', (map { $_->{locations} } @{ $self->{shapes} }), 'location /poolwatch/ { access_log off; poolwatch_status; }', 'location /ready { access_log off; return 204; }'),
    );
}

sub upstream {
    my ($block, $step) = @_;
    my $text = "    upstream $block->{name} {\n        poolwatch on;\n        poolwatch_failover off;\n        poolwatch_error_rate off;\n";
    # A balancer stands before keepalive, and before what only it allows.
    $text .= "        $block->{more}\n" if $block->{more};
    my @addresses = @{ $block->{addresses} };
    pop @addresses if $block->{changes} && !$step;
    my %pools;
    for my $server (0 .. $#addresses) {
        my $is_reserve = $server && ($block->{backup} || $block->{pair});
        my $is_down = grep { $_ == $server } @{ $block->{down} // [] };
        $text .= "        server $addresses[$server] $block->{options}" . ($is_reserve ? ' backup' : '') . ($is_down ? ' down' : '') . ";\n";
        push @{ $pools{ pool_name(identity($block, $server)) } }, $addresses[$server];
    }
    if ($block->{pools} eq 'explicit') {
        $text .= "        poolwatch_pool $_ @{ $pools{$_} };\n" for sort keys %pools;
    }
    return "$text    }\n";
}

sub http_directives {
    my ($self) = @_;
    my $log = join '\t', qw($uri $jid $status $upstream_addr $upstream_status $upstream_connect_time $upstream_header_time $upstream_response_time $upstream_cache_status $request_uri);
    return <<"CONF";
    poolwatch_zone judge 64m;
    log_format judge "$log";
    map_hash_bucket_size 256;
    server_names_hash_bucket_size 128;
    map \$request_uri \$jid { ~/i([0-9]+) \$1; }
    map \$request_uri \$key { ~/k([0-9]+) \$1; }
    map \$request_uri \$does0 { default 200; "~/~([a-z0-9]+)" \$1; }
    map \$request_uri \$does1 { default \$does0; "~/~[a-z0-9]+,([a-z0-9]+)" \$1; }
    proxy_cache_path objects keys_zone=objects:1m;
CONF
}

# Servers that speak TLS or HTTP/2 are nginx's own.
sub nginx_backends {
    my ($self) = @_;
    my $is_new = $self->{version} >= Poolwatch::number('1.25.1');
    return map {
        my ($options, $more) = $_->{protocol} eq 'tls' ? (' ssl', '') : $is_new ? ('', 'http2 on;') : (' http2', '');
        $options = " ssl$options" if $_->{protocol} eq 'h2s';
        my $server = $_->{server} % 2;
        my $returns = join ' ', map {"if (\$does$server = $_) { return $_; }"} @TLS_STATUSES;
        "    server { listen $_->{address}$options; $more access_log off; ssl_certificate server.pem; ssl_certificate_key server.key; location / { $returns return 444; } }"
    } @{ $self->{nginx_servers} // [] };
}

# -- requests

# { path, client } of each, by the seed.
sub mix {
    my ($self) = @_;
    srand $self->{seed};
    my @weighted = map { ($_) x $_->{weight} } @{ $self->{shapes} };
    return map { request($weighted[ rand @weighted ], $_) } 1 .. $self->{requests};
}

sub request {
    my ($shape, $number, @plan) = @_;
    my $pick = sub { $_[0][ rand @{ $_[0] } ] };
    @plan = map { my $part = $_; join ',', map { $pick->($part) } 1 .. 2 } @{ $shape->{plans} } if !@plan;
    # A second group at the same upstream has a plan of its own.
    my $key = $shape->{keys} ? '/k' . int rand $shape->{keys} : '';
    return { path => "/$shape->{name}/~" . join(';', @plan) . "~$key/i$number", client => $pick->($shape->{clients}) };
}

# The names that headers tell are known after this; and all servers have answered.
sub learn_pools {
    my ($self) = @_;
    my @first = map { my $shape = $_; map { request($shape, 1_000_000 + $_, '200') } 1 .. 10 } grep { $_->{name} eq 'by_header' } @{ $self->{shapes} };
    $_->{client} = 'GET' for @first;
    waitpid $_, 0 for $self->send_all(@first);
    my $by_header;
    Poolwatch::wait_until(sub {
        ($by_header) = grep { $_->{name} eq 'by_header' } @{ $self->{host}->api('upstreams') };
        return @first == eval { $by_header->{requests}{served} };
    }, 'the names of pools');
    $self->{taught}{by_header} = { map { $_->{name} => $_ } @{ $by_header->{pools} } };
}

# Several clients share the requests; returns their process ids.
sub send_all {
    my ($self, @requests) = @_;
    my @pids;
    for my $client (0 .. $CLIENTS - 1) {
        my $pid = fork // die "fork: $!";
        if (!$pid) {
            local $SIG{PIPE} = 'IGNORE';
            open my $record, '>>', "$self->{host}{prefix}/logs/clients.log" or die $!;
            $record->autoflush(1);
            for my $index (grep { $_ % $CLIENTS == $client } 0 .. $#requests) {
                my $begin = time;
                my $status = send_one($self->{host}{ports}{PORT}, $requests[$index]);
                my ($id) = $requests[$index]{path} =~ m{/i(\d+)};
                syswrite $record, join("\t", $id, $status, $requests[$index]{client}, sprintf '%.3f', time - $begin) . "\n";
            }
            POSIX::_exit(0);
        }
        push @pids, $pid;
    }
    return @pids;
}

# The status that the client saw; 0: none.
sub send_one {
    my ($port, $request) = @_;
    my $socket = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $port) or return 0;
    my $client = $request->{client};
    my $method = $client =~ /^(?:HEAD|POST)$/ ? $client : 'GET';
    my $version = $client eq 'OLD' ? '1.0' : '1.1';
    my @lines = ("$method $request->{path} HTTP/$version", 'Host: judge', $client eq 'UPGRADE' ? ('Connection: Upgrade', 'Upgrade: websocket') : 'Connection: close');
    my $body = $client eq 'POST' ? 'posted' x 100 : '';
    push @lines, 'Content-Length: ' . length $body if $client eq 'POST';
    syswrite $socket, join("\r\n", @lines, '', $body);
    if ($client eq 'ABORT') { sleep 0.03; close $socket; return 0 }
    my ($answer, $select, $until) = ('', IO::Select->new($socket), time + 15);
    while (time < $until && $select->can_read($until - time)) {
        my $count = sysread $socket, my $bytes, 65536;
        last if !$count;
        $answer .= $bytes if length $answer < 1000;
        last if $answer =~ /^HTTP\S+ 101/;
    }
    $answer =~ s{^HTTP/1.1 103.*?\r\n\r\n}{}s;
    return $answer =~ /^HTTP\S+ (\d+)/ ? $1 : 0;
}

# -- comparison

sub compare {
    my ($self) = @_;
    my ($truth, $differences);
    # Counters are complete when the last request has been observed; if something differs for good, this waits in vain.
    eval {
        Poolwatch::wait_until(sub {
            $truth = Judge::Truth->new($self)->read;
            $differences = $truth->differences({ map { $_->{name} => $_ } @{ $self->{host}->api('upstreams') } });
            sleep 0.2 if @$differences;
            return !@$differences && $truth->is_complete;
        }, 'the counts', $SECONDS_TO_COUNT);
    };
    push @$differences, $truth->missing if !$truth->is_complete;
    $self->{differences} = $differences;
    $self->{table} = [ $truth->table($differences) ];
}

sub finish {
    my ($self) = @_;
    $self->{host}->allow(qr/\[(?:error|crit|warn|info)\]/);
    $self->{host}->finish;
}

1;
