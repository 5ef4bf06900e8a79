# To which upstream and pool nginx's attempts belong, and why they failed: requests that redirects lead to several
# upstreams, subrequests, answers that nginx does not keep. Each case has upstreams of its own; what is counted of them
# is all that may be counted.

use strict;
use warnings;
use utf8;
use open qw(:std :encoding(UTF-8));

use POSIX ();
use Poolwatch;
use Test::More;

my @cases = (
    {   name     => 'an answer leads to a cached object',
        upstream => 'upstream xa { server 127.0.0.1:%%A%%; poolwatch on; }',
        server   => 'location /xa { proxy_pass http://xa/accel?to=/object/xa; } location /xa_bad { proxy_pass http://xa/500; }',
        requests => [ ('/xa') x 5, '/xa_bad' ],
        counted  => { xa => { served => 5, client_error => 1, ok => 5, server_error => 1 } },
    },
    {   name     => 'an answer leads to an upstream that fails',
        upstream => 'upstream xf { server 127.0.0.1:%%A%%; poolwatch on; } upstream xf_storage { server 127.0.0.1:%%A%%; poolwatch on; }',
        server   => 'location /xf { proxy_pass http://xf/accel?to=/xf_storage; } location /xf_storage { internal; proxy_pass http://xf_storage/500; }',
        requests => [ ('/xf') x 4 ],
        counted  => { xf => { served => 4, ok => 4 }, xf_storage => { client_error => 4, server_error => 4 } },
    },
    {   name     => 'an answer leads to a host without an address',
        upstream => 'upstream xh { server 127.0.0.1:%%A%%; poolwatch on; }',
        server   => 'location /xh { proxy_pass http://xh/accel?to=/nowhere; }',
        requests => [ ('/xh') x 3 ],
        counted  => { xh => { served => 3, ok => 3 } },
    },
    {   name     => 'an error leads to a cached answer',
        upstream => 'upstream ec { server 127.0.0.1:%%A%% max_fails=0; poolwatch on; }',
        server   => 'location /ec { proxy_pass http://ec/500; proxy_intercept_errors on; error_page 500 = /object/ec; }',
        requests => [ ('/ec') x 5 ],
        counted  => { ec => { masked_failover => 5, server_error => 5 } },
    },
    {   name     => 'an error leads to a host without an address',
        upstream => 'upstream eh { server 127.0.0.1:%%A%% max_fails=0; poolwatch on; }',
        server   => 'location /eh { proxy_pass http://eh/500; proxy_intercept_errors on; error_page 500 = /nowhere; }',
        requests => [ ('/eh') x 3 ],
        counted  => { eh => { client_error => 3, server_error => 3 } },
    },
    {   name     => 'blocks that share servers',
        upstream => 'upstream first { server 127.0.0.1:%%A%%; server 127.0.0.1:%%C%% backup; poolwatch on; }'
            . ' upstream second { server 127.0.0.1:%%C%%; server 127.0.0.1:%%A%% backup; poolwatch on; }',
        server => 'location /ss { proxy_pass http://first/500; proxy_next_upstream off; proxy_intercept_errors on; error_page 500 = @ss; }'
            . ' location @ss { rewrite ^ /200 break; proxy_pass http://second; }',
        requests => [ ('/ss') x 5 ],
        counted  => { first => { masked_failover => 5, server_error => 5 }, second => { served => 5, ok => 5 } },
    },
    {   name     => 'a redirect of an upstream that is not watched',
        upstream => 'upstream uw_first { server 127.0.0.1:%%A%%; poolwatch off; } upstream uw { server 127.0.0.1:%%A%%; poolwatch on; }',
        server   => 'location /uw { proxy_pass http://uw_first/500; proxy_intercept_errors on; error_page 500 = @uw; }'
            . ' location @uw { rewrite ^ /200 break; proxy_pass http://uw; }',
        requests => [ ('/uw') x 3 ],
        counted  => { uw => { served => 3, ok => 3 } },
    },
    {   name     => 'what is asked after the answer',
        upstream => 'upstream pa { server 127.0.0.1:%%A%%; poolwatch on; } upstream pa_log { server 127.0.0.1:%%A%% max_fails=0; poolwatch on; } upstream pa_garbage { server 127.0.0.1:%%GARBAGE%%; poolwatch on; }',
        server   => 'location /pa { proxy_pass http://pa/200; post_action /pa_log; } location /pa_log { internal; proxy_pass http://pa_log/500; }'
            . ' location /pa_garbage { proxy_pass http://pa_garbage; post_action /pa_good; }'
            . ' location /pa_bad { proxy_pass http://pa/500; post_action /pa_good; } location /pa_good { internal; proxy_pass http://pa_log/200; }',
        requests => [ ('/pa') x 3, '/pa_bad', '/pa_garbage' ],
        counted  => {
            pa_garbage => { client_error => 1, no_answer => 1 },
            pa     => { served          => 3, client_error => 1, ok           => 3, server_error => 1 },
            pa_log => { masked_failover => 3, served       => 2, server_error => 3, ok           => 2 },
        },
    },
    {   name     => 'an answer that nginx does not keep',
        upstream => 'upstream nk { server 127.0.0.1:%%A%% max_fails=0; server 127.0.0.1:%%C%% backup; poolwatch on; poolwatch_pool blue 127.0.0.1:%%A%%; poolwatch_pool green 127.0.0.1:%%C%%; }',
        server   => 'location /nk/ { proxy_pass http://nk/; proxy_next_upstream http_403 http_404 http_429; }',
        requests => [ ('/nk/429') x 3, '/nk/404', '/nk/403', '/nk/200' ],
        counted  => { nk => { masked_failover => 5, served => 1, rejected => 5, ok => 6, '4xx' => 5, '2xx' => 6 } },
        pools    => { nk => { blue => { rejected => 5, ok => 1, '4xx' => 5, '2xx' => 1 }, green => { ok => 5, '2xx' => 5 } } },
    },
    {   name     => 'more attempts than fingers',
        upstream => 'upstream many { ' . join('', map { "server 127.0.0.$_:%%DEAD%% max_fails=0; " } 1 .. 30) . 'poolwatch on; }',
        server   => 'location /many { proxy_pass http://many/; }',
        requests => [ ('/many') x 2 ],
        counted  => { many => { client_error => 2, refused => 60 } },
    },
    {   name     => 'reasons',
        upstream => join(' ', map { my ($name, $server) = @$_; "upstream why_$name { server 127.0.0.1:%%$server%% max_fails=0; poolwatch on; }" }
                [ closed => 'CLOSES' ], [ garbage => 'GARBAGE' ], [ half => 'HALF' ], [ big => 'A' ], [ hangs => 'HANGS' ], [ full => 'FULL' ], [ tls => 'A' ]),
        server => join(' ', map {"location /why_$_ { proxy_pass http://why_$_/; }"} qw(closed garbage half hangs full))
            . ' location /why_big { proxy_pass http://why_big/big; } location /why_tls { proxy_pass https://why_tls/; }',
        requests => [ map {"/why_$_"} qw(closed garbage half big hangs full tls) ],
        counted  => {
            (map { ("why_$_" => { client_error => 1, no_answer => 1 }) } qw(closed garbage half big tls)),
            why_hangs => { client_error => 1, timed_out         => 1 },
            why_full  => { client_error => 1, connect_timed_out => 1 },
        },
    },
    {   name     => 'auth_request',
        upstream => 'upstream au { server 127.0.0.1:%%A%% max_fails=0; poolwatch on; } upstream au_app { server 127.0.0.1:%%A%%; poolwatch on; }',
        server   => 'location /au { auth_request /au_check; proxy_pass http://au_app/200; } location = /au_check { internal; proxy_pass http://au/$au_answer; }',
        requests => [ ('/au?answer=200') x 3, ('/au?answer=401') x 2, ('/au?answer=500') x 4 ],
        counted  => {
            au     => { served => 5, client_error => 4, ok => 5, server_error => 4, '2xx' => 3, '4xx' => 2, '5xx' => 4 },
            au_app => { served => 3, ok => 3 },
        },
    },
    {   name     => 'mirror',
        upstream => 'upstream mi { server 127.0.0.1:%%A%% max_fails=0; poolwatch on; } upstream mi_app { server 127.0.0.1:%%A%%; poolwatch on; }',
        server   => 'location /mi { mirror /mi_copy; proxy_pass http://mi_app/200; } location = /mi_copy { internal; proxy_pass http://mi/500; }',
        requests => [ ('/mi') x 3 ],
        counted  => { mi => { masked_failover => 3, server_error => 3 }, mi_app => { served => 3, ok => 3 } },
    },
    {   name     => 'SSI',
        upstream => 'upstream si { server 127.0.0.1:%%A%% max_fails=0; poolwatch on; }',
        server   => 'location /si { ssi on; proxy_pass http://si/ssi; } location /si_part/ { proxy_pass http://si/; }',
        requests => [ ('/si') x 2 ],
        counted  => { si => { served => 6, masked_failover => 2, ok => 6, server_error => 2 } },
    },
    {   name     => 'slice',
        upstream => 'upstream sl { server 127.0.0.1:%%A%%; poolwatch on; }',
        server   => 'location /sl { slice 1k; proxy_set_header Range $slice_range; proxy_pass http://sl/file; }',
        requests => [ '/sl' ],
        counted  => { sl => { served => 10, ok => 10, '2xx' => 10 } },
    },
    {   name     => 'background update',
        upstream => 'upstream bu { server 127.0.0.1:%%A%% max_fails=0; poolwatch on; }',
        server   => 'location /bu { proxy_pass http://bu/turn; proxy_cache objects; proxy_cache_key bu; proxy_cache_use_stale updating error http_500; proxy_cache_background_update on; add_header X-Cache $upstream_cache_status; }',
        requests => [ '/bu', '!' ],
        counted  => { bu => { served => 1, masked_failover => 1, ok => 1, server_error => 1 } },
    },
);

my $host = Poolwatch->new;
$host->{ports}{$_} = Poolwatch::free_port() for qw(A C CLOSES GARBAGE HALF HANGS FULL DEAD OBJECTS);
my %answers = (CLOSES => '', GARBAGE => "garbage\n", HALF => "HTTP/1.1 200 OK\r\nX-Half: ");
for my $name (sort keys %answers) {
    $host->raw_server(lc $name, $host->{ports}{$name}, sub { sysread $_[0], my $request, 4096; syswrite $_[0], $answers{$name}; return });
}
$host->raw_server('hangs', $host->{ports}{HANGS}, sub { $_[0] });
# A listener that takes no connection, and a queue that is full: nobody answers a SYN.
my $full = IO::Socket::INET->new(Listen => 1, LocalAddr => "127.0.0.1:$host->{ports}{FULL}", ReuseAddr => 1) or die $!;
my @queued = map { IO::Socket::INET->new(PeerAddr => "127.0.0.1:$host->{ports}{FULL}", Blocking => 0, Timeout => 0.2) } 1 .. 4;

mkdir "$host->{prefix}/html";
open my $file, '>', "$host->{prefix}/html/file" or die $!;
print $file 'x' x 10_000;
close $file;
open my $ssi, '>', "$host->{prefix}/html/ssi" or die $!;
print $ssi '<!--#include virtual="/si_part/200" --><!--#include virtual="/si_part/500" --><!--#include virtual="/si_part/404" -->';
close $ssi;

$host->write_config(
    join("\n", map { $_->{upstream} } @cases),
    <<'CONF',
    proxy_cache_path objects keys_zone=objects:1m;
    proxy_next_upstream error timeout;
    poolwatch_failover off;
    poolwatch_error_rate off;
    map $request_uri $au_answer { ~answer=(.*) $1; }
    map $uri $big { default ''; ~. xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx; }
    server {
        listen 127.0.0.1:%%A%%;
        root html;
        location /200   { return 200 ok; }
        location /401   { return 401; }
        location /403   { return 403; }
        location /404   { return 404; }
        location /429   { return 429; }
        location /500   { return 500; }
        location /turn  { if (-f $document_root/bad) { return 500; } add_header X-Accel-Expires 1; return 200 turn; }
        location /accel { add_header X-Accel-Redirect $arg_to; return 200; }
        location /big   { add_header X-1 $big$big$big$big$big$big$big$big$big$big$big$big$big$big$big$big$big$big$big$big; add_header X-2 $big$big$big$big$big$big$big$big$big$big$big$big$big$big$big$big$big$big$big$big; add_header X-3 $big$big$big$big$big$big$big$big$big$big$big$big$big$big$big$big$big$big$big$big; return 200; }
        location / { default_type text/html; }
    }
    server { listen 127.0.0.1:%%C%%; return 200 green; }
    server { listen 127.0.0.1:%%OBJECTS%%; return 200 object; }
CONF
    join("\n", (map { $_->{server} } @cases), <<'CONF'),
    location /object/ { internal; proxy_pass http://127.0.0.1:%%OBJECTS%%; proxy_cache objects; proxy_cache_key object; proxy_cache_valid 200 1h; }
    location /nowhere { internal; set $nowhere no.such.host; proxy_pass http://$nowhere; }
    location /poolwatch/ { poolwatch_status; }
CONF
);
$host->start;

for my $case (@cases) {
    for my $path (@{ $case->{requests} }) {
        if ($path eq '!') {
            # What the application answered is cached, the application breaks, and what is cached becomes stale.
            Poolwatch::wait_until(sub { `grep -l 'KEY: bu' $host->{prefix}/objects/* 2>/dev/null` }, 'the cached answer');
            open my $bad, '>', "$host->{prefix}/html/bad" or die $!;
            Poolwatch::wait_until(sub { ($host->get('/bu')->{headers}{'x-cache'} // '') eq 'STALE' }, 'a stale answer');
            next;
        }
        $host->get($path, timeout => 10);
    }
}

# The counts that are not zero.
sub counted {
    my ($of) = @_;
    my %counts = map { %{ $of->{$_} } } qw(requests attempts);
    my %classes = %{ $of->{responses} };
    return { map { $_ => $counts{$_} } grep { $counts{$_} } keys %counts }, { map { $_ => $classes{$_} } grep { $classes{$_} } keys %classes };
}

sub upstreams { return { map { $_->{name} => $_ } @{ $host->api('upstreams') } } }

for my $case (@cases) {
    for my $name (sort keys %{ $case->{counted} }) {
        my %expected = %{ $case->{counted}{$name} };
        my %classes = map { $_ => delete $expected{$_} } grep {/xx$/} keys %expected;
        my ($counts, $responses);
        eval {
            Poolwatch::wait_until(sub {
                ($counts, $responses) = counted(upstreams()->{$name});
                return join(' ', map {"$_=$counts->{$_}"} sort keys %$counts) eq join ' ', map {"$_=$expected{$_}"} sort keys %expected;
            }, 'the counts', 3);
        };
        is_deeply($counts, \%expected, "$case->{name}: $name") or diag explain $counts;
        is_deeply($responses, \%classes, "$case->{name}: status classes of $name") if %classes;
    }
    for my $name (sort keys %{ $case->{pools} // {} }) {
        my $upstream = upstreams()->{$name};
        for my $pool (@{ $upstream->{pools} }) {
            my %of = (%{ $pool->{attempts} }, %{ $pool->{responses} });
            my %of_pool = map { $_ => $of{$_} } grep { $of{$_} } keys %of;
            is_deeply(\%of_pool, $case->{pools}{$name}{ $pool->{name} }, "$case->{name}: pool $pool->{name}");
        }
    }
}

$host->allow(qr/\[(?:error|crit|warn)\]/);
$host->finish;
done_testing;
