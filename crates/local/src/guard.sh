# Holds one server for the process at the other end of standard input and outlives that process just long enough to
# stop the server. Usage: sh -c <this> guard LOG SIGNALS PROGRAM [ARGUMENT…]
#   standard input   a pipe: each line is a signal to pass on; its end means "stop", sending SIGNALS one after the other
#   standard output  a pipe: one line, the process id of the server
#   standard error   kept open by the server: it closes when the server and all its children are gone
log=$1 signals=$2
shift 2
exec 3<&0 </dev/null 4>&2 2>>"$log"

(exec "$@" 3<&- >>"$log" 2>&1) &
server=$!

(
    exec >/dev/null
    while read -r signal; do
        kill -s "$signal" "$server"
    done <&3
    nap=
    trap 'kill "$nap"; wait; exit' TERM
    for signal in $signals; do
        left=80
        while [ "$left" -gt 0 ] && kill -0 "$server"; do
            # Once a second: a program that is just starting may miss the first. A frozen one has to run to stop.
            [ $((left % 10)) -ne 0 ] || kill -s "$signal" "$server" || break
            kill -s CONT "$server"
            sleep 0.1 &
            nap=$!
            # Not every sleep knows fractions.
            wait "$nap" || sleep 1
            left=$((left - 1))
        done
    done
) 2>/dev/null &
watcher=$!

# The guard ends with the server, not before. (Set after the children were made: a child that is just made loses the
# signals that its parent has a trap for.)
trap : HUP INT TERM
echo "$server"
exec >/dev/null

# `wait` also returns when a trapped signal arrives.
while :; do
    wait "$server"
    code=$?
    kill -0 "$server" 2>/dev/null || break
done
# Nothing is left to a parent that may not care.
kill "$watcher" 2>/dev/null
wait "$watcher"
exit "$code"
