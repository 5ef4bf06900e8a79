package Judge::Truth;

# What nginx's access log says of each upstream, and where Poolwatch's counts differ from it. The log alone does not
# tell an early hint from the answer after it, nor an answer that is no HTTP from a good one: there the plan in the
# request's path says what the server did.

use strict;
use warnings;

use Judge::Backend;

my @FIELDS = qw(uri id status addresses statuses connect_times header_times response_times cache request_uri);
my @RESULTS = qw(served masked_failover client_error no_live_upstreams aborted);
my @VERDICTS = qw(ok rejected server_error refused no_answer connect_timed_out timed_out);
my @CLASSES = qw(1xx 2xx 3xx 4xx 5xx);
my $EXAMPLES = 3;
# Requests from this number on only teach Poolwatch the names of pools.
our $FIRST_TEACHING = 1_000_000;

sub new {
    my ($class, $judge) = @_;
    my $self = bless { judge => $judge, host => $judge->{host} }, $class;
    for my $shape (@{ $judge->{shapes} }) {
        for my $block (@{ $shape->{blocks} }) {
            my $of = { block => $block, shape => $shape };
            $self->{owner}{ $block->{name} } = $of;
            my @addresses = @{ $block->{addresses} };
            $of->{server} = { map { $addresses[$_] => Judge::identity($block, $_) } 0 .. $#addresses };
            # Each block of the pair asks its own first server first.
            $self->{owner}{$_} = $of for $block->{pair} ? $addresses[0] : @addresses;
        }
    }
    return $self;
}

sub read {
    my ($self) = @_;
    my %client_status = map { (split /\t/)[ 0, 1 ] } split /\n/, $self->{host}->written('clients.log');
    my (%lines, @ids);
    for my $text (split /\n/, $self->{host}->written('judge.log')) {
        my %line = (text => $text);
        @line{@FIELDS} = split /\t/, $text;
        push @ids, $line{id} if !$lines{ $line{id} };
        push @{ $lines{ $line{id} } }, \%line;
    }
    $self->{finished} = @ids;
    $self->{sent} = keys %client_status;
    for my $id (@ids) {
        # Subrequests end before their main request, whose line is the last one.
        my $status = $lines{$id}[-1]{status};
        $self->count_line($_, $status, $client_status{$id} // 0) for @{ $lines{$id} };
    }
    return $self;
}

sub is_complete { my ($self) = @_; return $self->{finished} == $self->{sent} }
sub missing     { my ($self) = @_; return "the access log has $self->{finished} requests of $self->{sent}" }

# -- what the log says

sub count_line {
    my ($self, $line, $main_status, $client_status) = @_;
    return if $line->{addresses} eq '-';
    my %groups = map { my $name = $_; ($name => [ map { [ split /, / ] } split / : /, $line->{$name} ]) } qw(addresses statuses connect_times header_times);
    for my $index (0 .. $#{ $groups{addresses} }) {
        my %group = map { $_ => $groups{$_}[$index] } keys %groups;
        my $of = $self->{owner}{ $group{addresses}[0] } or die "whose is $group{addresses}[0]? $line->{text}\n";
        my $status = !$of->{shape}{action} ? $main_status : $index ? 200 : $client_status;
        $self->count_group($of, $line, $status, attempts($of, $line, $index, \%group));
    }
}

sub attempts {
    my ($of, $line, $index, $group) = @_;
    my @addresses = @{ $group->{addresses} };
    my $part = $of->{shape}{same} ? $index : $of->{block}{part};
    return map {
        my $server = $of->{server}{ $addresses[$_] };
        my %attempt = (
            address => $addresses[$_], server => $server, is_last => $_ == $#addresses, is_tls => $of->{block}{protocol} =~ /^(?:tls|h2s)$/ || $of->{block}{is_tls} || $of->{shape}{kind} eq 'https',
            status => $group->{statuses}[$_], connect => $group->{connect_times}[$_], header => $group->{header_times}[$_],
            did => defined $server ? Judge::Backend::behaviour($line->{request_uri}, $part, $server) : '', client => $line->{status},
        );
        judged(\%attempt);
        \%attempt;
    } 0 .. $#addresses;
}

# How the attempt ended, and the status of its answer.
sub judged {
    my ($attempt) = @_;
    my ($status, $did) = @$attempt{qw(status did)};
    # nginx keeps the status of an early hint.
    $status = $did eq 'hint' ? 200 : $did =~ /^hint(\d+)/ ? $1 : 502 if $status eq '103' && $attempt->{is_last} && $did =~ /^hint/;
    my $is_own = $attempt->{header} eq '-';
    my $verdict =
          !defined $attempt->{server} ? 'no_live'
        : $status eq '-' && $did eq 'garbage' && $attempt->{client} ne '499' ? 'no_answer'
        : $status eq '-' && $is_own ? 'unfinished'
        : $is_own && $status == 504 ? ($attempt->{connect} eq '-' ? 'connect_timed_out' : 'timed_out')
        : $is_own ? ($attempt->{connect} eq '-' && !$attempt->{is_tls} ? 'refused' : 'no_answer')
        : $did =~ /^(?:garbage|hintclose)$/ ? 'no_answer'
        : $status >= 500 ? 'server_error'
        : $attempt->{is_last} ? 'ok'
        :                       'rejected';
    @$attempt{qw(verdict final)} = ($verdict, $status);
}

sub count_group {
    my ($self, $of, $line, $client, @attempts) = @_;
    my $name = $of->{block}{name};
    my $teaches = $line->{id} >= $FIRST_TEACHING;
    my $last = $attempts[-1];
    my $is_aborted = $client eq '499' || grep { $_->{verdict} eq 'unfinished' } @attempts;
    my $status = $last->{verdict} eq 'ok' ? $last->{final} : $client;
    my $result =
          $is_aborted ? 'aborted'
        : $last->{verdict} eq 'no_live' ? 'no_live_upstreams'
        : $status >= 500 || ($status < 100 && $last->{verdict} ne 'ok') ? 'client_error'
        : has_failure(@attempts) ? 'masked_failover'
        :                          'served';
    my @wheres = ($name, $teaches ? () : "$name pool " . pool_of($of, $last));
    $self->count("$_ requests $result", $line) for $result eq 'no_live_upstreams' ? $name : @wheres;
    $self->{total}{$name}{requests}++;
    for my $attempt (grep { $_->{verdict} !~ /^(?:unfinished|no_live)$/ } @attempts) {
        my $verdict = $attempt->{verdict};
        my @places = ($name, $teaches ? () : "$name pool " . pool_of($of, $attempt));
        for my $place (@places) {
            $self->count("$place attempts $verdict", $line);
            $self->count("$place responses " . substr($attempt->{final}, 0, 1) . 'xx', $line) if $verdict =~ /^(?:ok|rejected|server_error)$/;
        }
        $self->count("$name peer $attempt->{address} attempts", $line);
        $self->count("$name peer $attempt->{address} failures", $line) if $verdict ne 'ok';
        $self->{total}{$name}{attempts}++;
    }
}

# An attempt at a kept connection that was closed is repeated at the same server, and no failure of the request.
sub has_failure {
    my (@attempts) = @_;
    return grep {
        my ($this, $next) = @attempts[ $_, $_ + 1 ];
        my $was_stale = $next && $next->{address} eq $this->{address} && $this->{verdict} =~ /^(?:refused|no_answer)$/ && $next->{verdict} eq 'ok';
        $this->{verdict} ne 'ok' && !$was_stale;
    } 0 .. $#attempts;
}

sub pool_of {
    my ($of, $attempt) = @_;
    my $server = $attempt->{server} // return '-';
    return Judge::pool_name($server) if $of->{block}{pools} ne 'role';
    return $of->{block}{backup} && $server ? 'backup' : 'primary';
}

sub count {
    my ($self, $what, $line) = @_;
    $self->{count}{$what}++;
    my $examples = $self->{examples}{$what} //= [];
    push @$examples, $line->{text} if @$examples < $EXAMPLES;
}

# -- what the JSON says

# One text for each difference.
sub differences {
    my ($self, $upstreams) = @_;
    my @differences;
    for my $name (sort keys %{ $self->{owner} }) {
        my $block = $self->{owner}{$name}{block};
        next if $block->{name} ne $name;
        my $upstream = $upstreams->{$name} or push @differences, "$name: the JSON has no such upstream" and next;
        my %said = said($name, $upstream);
        for my $pool (@{ $upstream->{pools} }) {
            my %in_pool = said("$name pool $pool->{name}", $pool);
            my $taught = $self->{judge}{taught}{$name}{ $pool->{name} };
            my %before = $taught ? said("$name pool $pool->{name}", $taught) : ();
            $said{$_} = $in_pool{$_} - ($before{$_} // 0) for keys %in_pool;
            for my $peer (@{ $pool->{peers} }) {
                $said{"$name peer $peer->{address} $_"} = $peer->{$_} for qw(attempts failures);
            }
        }
        my %all = map { $_ => 1 } keys %said, grep {/^\Q$name\E /} keys %{ $self->{count} };
        for my $what (sort keys %all) {
            # A server that a reload took away has no counts any more.
            next if $block->{changes} && $what =~ /peer \Q$block->{addresses}[-1]\E /;
            my ($log, $json) = ($self->{count}{$what} // 0, $said{$what} // 0);
            next if $log == $json;
            my @examples = @{ $self->{examples}{$what} // [] };
            push @differences, join "\n    ", "$what: the log says $log, the JSON says $json", @examples;
        }
    }
    return \@differences;
}

sub said {
    my ($where, $of) = @_;
    my %keys = (requests => \@RESULTS, attempts => \@VERDICTS, responses => \@CLASSES);
    return map { my $kind = $_; map { ("$where $kind $_" => $of->{$kind}{$_} // 0) } @{ $keys{$kind} } } keys %keys;
}

sub table {
    my ($self, $differences) = @_;
    my (%rows, @kinds);
    for my $shape (@{ $self->{judge}{shapes} }) {
        push @kinds, $shape->{kind} if !$rows{ $shape->{kind} };
        my $row = $rows{ $shape->{kind} } //= { requests => 0, attempts => 0, differences => 0 };
        for my $block (@{ $shape->{blocks} }) {
            my $name = $block->{name};
            $row->{$_} += $self->{total}{$name}{$_} // 0 for qw(requests attempts);
            $row->{differences} += grep {/^\Q$name\E[ :]/} @$differences;
        }
    }
    my $format = '%-14s %9s %9s %12s';
    return (sprintf($format, qw(upstreams requests attempts differences)), map { sprintf $format, $_, @{ $rows{$_} }{qw(requests attempts differences)} } @kinds);
}

1;
