package Bench::Chart;

# Bars as an SVG that can be read on light and dark pages.

use strict;
use warnings;

use List::Util qw(max);

my ($left, $right, $bar, $gap) = (270, 420, 16, 8);

# Panels: each has a title, the format of its unit, and rows of [name, value, ours, low, high]; a bar's length is its
# value.
sub svg {
    my (@panels) = @_;
    my ($y, @parts) = (0);
    for my $panel (@panels) {
        my ($title, $format, @rows) = @$panel;
        my ($most) = sort { $b <=> $a } map { $_->[4] // $_->[1] } @rows;
        my $scale = $right / ($most || 1);
        $y += 28;
        push @parts, qq{<text x="0" y="$y" class="title">$title</text>};
        $y += 12;
        for my $row (@rows) {
            my ($name, $value, $ours, $low, $high) = @$row;
            my ($width, $middle) = (sprintf('%.1f', max(0, $value) * $scale), $y + $bar - 4);
            my $class = $ours ? 'ours' : 'other';
            push @parts, sprintf '<text x="%d" y="%d" text-anchor="end">%s</text>', $left - 8, $middle, plain($name);
            push @parts, qq{<rect x="$left" y="$y" width="$width" height="$bar" class="$class"/>};
            if (defined $high) {
                my ($from, $to, $at) = ($left + $low * $scale, $left + $high * $scale, $y + $bar / 2);
                push @parts, sprintf '<line x1="%.1f" y1="%d" x2="%.1f" y2="%d"/>', $from, $at, $to, $at;
            }
            my $end = $left + ($high // $value) * $scale + 6;
            push @parts, sprintf '<text x="%.1f" y="%d">%s</text>', $end, $middle, sprintf $format, $value;
            $y += $bar + $gap;
        }
    }
    my ($width, $height) = ($left + $right + 80, $y + 8);
    return join "\n", qq{<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 $width $height" width="$width" height="$height" role="img">},
        '<title>What the ways to watch an upstream cost</title>', <<'STYLE', @parts, "</svg>\n";
<style>
text { font: 13px sans-serif; fill: #57606a } .title { font-weight: bold }
.ours { fill: #1a7f37 } .other { fill: #8c959f } line { stroke: #57606a; stroke-width: 1.5 }
@media (prefers-color-scheme: dark) { text { fill: #b1bac4 } line { stroke: #b1bac4 } .ours { fill: #3fb950 } .other { fill: #6e7681 } }
</style>
STYLE
}

# A name from the table, without its Markdown.
sub plain { my ($name) = @_; return $name =~ tr/`*//dr =~ s/&/&amp;/gr =~ s/</&lt;/gr }

1;
