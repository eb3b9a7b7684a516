#!/usr/bin/env bash
# Stands in for the program in tests of the launchers: [quantize] exit CODE | die SIGNAL | wait SECONDS | threads
# One rank dies by the signal; SIGUSR2 ends a wait with code 75, as in the program.
rank=${OMPI_COMM_WORLD_RANK:-${PMIX_RANK:-0}}
trap 'exit 75' USR2
[ "$1" != quantize ] || shift
case $1 in
  exit) exit "$2" ;;
  die)
    [ "$rank" != 1 ] || kill -"$2" $$
    exec sleep 60
    ;;
  wait)
    echo "rank $rank waits"
    for ((i = 0; i < $2 * 10; ++i)); do sleep 0.1; done
    ;;
  threads) echo "rank $rank threads $OMP_NUM_THREADS" ;;
  *) exit 2 ;;
esac
