"""Several processes that train one model together, on this machine or as one of a cluster.

    python examples/workers.py --workers 2 train --preset vae_gan_mnist --output runs/shared

starts two processes of `keras-vaegan train ...` here, each with the devices that it sees (narrow that with
`CUDA_VISIBLE_DEVICES`), and ends them all when one ends with an error.

    python examples/workers.py --hosts 10.0.0.1:4000,10.0.0.2:4000 --index 0 train ...

is one process of a cluster, the first; on the second machine `--index 1`, and so on. `cluster.sh` beside this
script does that under Slurm. The first process writes the run folder, which all must see when the training is
gone on with (`train --resume FOLDER`), and the data must be at the same place everywhere. The ports must be
free on each host, in JAX's case the first host's. On TensorFlow and JAX.
"""

import argparse
import json
import os
import socket
import subprocess
import sys
import time

POLL = 0.2  # seconds between two looks at the processes
PATIENCE = 10  # seconds that a process has to end by itself


def main():
    """Start the processes, or be one of them; the exit code is the first that is not 0."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    kind = parser.add_mutually_exclusive_group(required=True)
    kind.add_argument("--workers", type=int, help="processes to start on this machine, at least 2")
    kind.add_argument("--hosts", help="host:port of every process, with commas between")
    parser.add_argument("--index", type=int, help="which of --hosts this process is, from 0")
    parser.add_argument("command", nargs=argparse.REMAINDER, help="the command, as `train --model vae`")
    options = parser.parse_args()
    if not options.command:
        parser.error("a command must be given, as `train --model vae`")
    program = [sys.executable, "-m", "keras_vaegan", *options.command]
    if options.hosts is not None:
        hosts = options.hosts.split(",")
        if options.index is None or not 0 <= options.index < len(hosts):
            parser.error(f"--index must be one of 0 to {len(hosts) - 1}; received {options.index}")
        os.execve(sys.executable, program, environment(hosts, options.index))  # becomes the process
    if options.workers < 2:
        parser.error(f"--workers must be at least 2; received {options.workers}")
    hosts = [f"127.0.0.1:{port}" for port in free_ports(options.workers)]
    sys.exit(together([(program, environment(hosts, i)) for i in range(options.workers)]))


def environment(hosts, index):
    """What tells TensorFlow, or Keras on JAX, who trains together and which of them this is."""
    task = {"cluster": {"worker": hosts}, "task": {"type": "worker", "index": index}}
    return os.environ | {
        "TF_CONFIG": json.dumps(task),
        "KERAS_DISTRIBUTION_JOB_ADDRESSES": ",".join(hosts),
        "KERAS_DISTRIBUTION_NUM_PROCESSES": str(len(hosts)),
        "KERAS_DISTRIBUTION_PROCESS_ID": str(index),
    }


def free_ports(count):
    """Ports of this machine that nobody listens at."""
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def together(commands):
    """Run the processes until all have ended; when one fails, end the others too. Returns the exit code."""
    processes = [subprocess.Popen(command, env=given) for command, given in commands]
    failed = None
    try:
        while failed is None and any(process.poll() is None for process in processes):
            time.sleep(POLL)
            failed = next((i for i, process in enumerate(processes) if process.poll()), None)
    except KeyboardInterrupt:  # which the processes have had as well
        end(processes)
        return 130
    if failed is None:
        return 0
    end(processes)
    code = processes[failed].returncode
    how = f"signal {-code}" if code < 0 else f"exit code {code}"
    print(
        f"worker {failed} of {len(processes)} ended with {how}; the others were stopped. "
        "`train --resume FOLDER` in the place of the command goes on from the last checkpoint.",
        file=sys.stderr,
    )
    return code if code > 0 else 128 - code


def end(processes):
    """End what still runs, if it must be by force."""
    for process in processes:
        process.terminate()
    deadline = time.monotonic() + PATIENCE
    for process in processes:
        try:
            process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


if __name__ == "__main__":
    main()
