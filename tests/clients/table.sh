#!/bin/bash
# Makes the last section of docs/compatibility.md from the results of one run: feature, client, tests that passed.
#   tests/clients/table.sh RESULTS           checks that the page says what the run showed
#   UPDATE_DOCS=1 tests/clients/table.sh …   writes it
# RESULTS has lines "client<tab>class or test<tab>method or nothing<tab>passed|skipped[<tab>reason]", made by run.sh.
set -euo pipefail
export LC_ALL=C # one order everywhere
here=$(cd "$(dirname "$0")" && pwd)
page=$here/../../docs/compatibility.md
heading='## Proved by unmodified clients'

feature() { # feature <class or test>
    local pattern name
    while read -r pattern name; do
        # shellcheck disable=SC2053
        [[ $1 == $pattern ]] && { echo "$name"; return; }
    done < <(grep -v '^#' "$here/features.txt")
    echo "tests/clients/features.txt names no feature for $1" >&2
    return 1
}

made=$(
    echo "$heading"
    echo
    echo "Numbers of tests that passed in the last run, \`make clients\`, which checks this table; a client without a number"
    echo "has no such feature, or its tests cover it elsewhere."
    echo
    echo "| feature | Java 5.3.3 | Java 4.9.8 | Go | tests |"
    echo "|---|---|---|---|---|"
    cut -f 2 "$1" | sort -u | while read -r class; do
        name=$(feature "$class") || exit 1
        printf '%s\t%s\n' "$class" "$name"
    done | awk -F '\t' '
        NR == FNR { feature[$1] = $2; next }
        $4 == "passed" {
            row = feature[$2]; count[row, $1]++
            if (!((row, $2, $3) in seen)) {
                seen[row, $2, $3] = 1; rows[row] = 1
                tests[row, $2] = tests[row, $2] ($3 == "" ? "" : (tests[row, $2] == "" ? ": " : ", ") "`" $3 "`")
                if (!((row, $2) in known)) { known[row, $2] = 1; classes[row] = classes[row] " " $2 }
            }
        }
        END {
            for (row in rows) {
                line = "| " row
                clients = split("java-5.3.3 java-4.9.8 go", client, " ")
                for (at = 1; at <= clients; at++)
                    line = line " | " (count[row, client[at]] ? count[row, client[at]] : "–")
                text = ""
                parts = split(classes[row], class, " ")
                for (at = 1; at <= parts; at++)
                    text = text (at > 1 ? "; " : "") "`" class[at] "`" tests[row, class[at]]
                print line " | " text " |"
            }
        }' - <(sort -t $'\t' -k 2,3 "$1") | sort
)
kept=$(sed -n "/^$heading\$/,\$p" "$page")
if [ -n "${UPDATE_DOCS:-}" ]; then
    { sed "/^$heading\$/,\$d" "$page"; echo "$made"; } > "$page.new"
    mv "$page.new" "$page"
elif [ "$made" != "$kept" ]; then
    diff <(echo "$kept") <(echo "$made") >&2 || true
    echo "docs/compatibility.md does not say what the run showed: UPDATE_DOCS=1 make clients" >&2
    exit 1
fi
