"""The trainer that driftd calls: hands the job to spark-submit and waits for its end.

    trainer: {command: [python, /opt/training/submit.py]}

SPARK_SUBMIT names the program with its options (`spark-submit --master yarn`); what Spark prints is the build's log.
"""

import os
import shlex
import subprocess
import sys
from pathlib import Path

spark = shlex.split(os.environ.get("SPARK_SUBMIT", "spark-submit"))
program = Path(__file__).with_name("train_on_spark.py")
command = [*spark, program, os.environ["DRIFTD_ROWS"], os.environ["DRIFTD_OUTPUT"]]
sys.exit(subprocess.run(command, check=False).returncode)
