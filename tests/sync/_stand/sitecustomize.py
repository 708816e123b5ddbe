import sys, types
sys.path.append(__file__.rsplit("/", 2)[0])
import standin
module = types.ModuleType("bucketboard.sync.replicator")
module.__dict__.update(Replicator=standin.Replicator, SyncOptions=standin.SyncOptions, SyncReport=standin.SyncReport)
sys.modules[module.__name__] = module
