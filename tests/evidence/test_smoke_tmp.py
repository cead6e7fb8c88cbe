from nightlab.evidence.table import Table
from nightlab.evidence.predict import evaluate_all
from nightlab.evidence.queries import Queries
from nightlab.evidence.claims import make_claims, write_claims
import time
def test_it(make, servers):
    m = make()
    table = Table.from_experiment(m.folder, servers=servers)
    vs = evaluate_all(table)
    cs = make_claims(table, vs, Queries(table, vs))
    print(write_claims(m.folder, cs).read_text())
