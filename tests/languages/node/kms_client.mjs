// A client of kms-grpc for Node. It returns promises, uses @grpc/grpc-js, and makes its stubs from protos/ at run time.
import { credentials, loadPackageDefinition, Metadata } from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';

const LOADING = { defaults: false, enums: String, longs: Number, oneofs: false };
const FILES = ['kms_grpc/v1/key_management.proto', 'kms_grpc/v1/envelope.proto'];
const DETAILS = ['google/rpc/status.proto', 'google/rpc/error_details.proto'];
const ERROR_INFO = 'type.googleapis.com/google.rpc.ErrorInfo';

// The error of a refused call. `reason` is the name of the KMS error, `facts` is the metadata of its ErrorInfo.
export class KmsError extends Error {
  constructor(error, info) {
    super(error.details);
    this.status = error.code;
    this.reason = info?.reason;
    this.domain = info?.domain;
    this.facts = info?.metadata ?? {};
  }
}

export class Kms {
  // `protos`: the folders with the protos of kms-grpc and of google/rpc.
  constructor({ address, token, region, protos }) {
    const definition = loadSync([...FILES, ...DETAILS], { ...LOADING, includeDirs: protos });
    const { kms_grpc: { v1 } } = loadPackageDefinition(definition);
    this.definition = definition;
    this.token = token;
    this.region = region;
    this.stubs = [v1.KeyManagementService, v1.EnvelopeService].map((Stub) => new Stub(address, credentials.createInsecure()));
  }

  // Calls the rpc of that name. Resolves to { response, trailers }; rejects with a KmsError.
  call(name, request = {}, { region = this.region, token = this.token } = {}) {
    const stub = this.stubs.find((one) => name in one);
    const metadata = new Metadata();
    metadata.set('authorization', `Bearer ${token}`);
    metadata.set('kms-region', region);
    return new Promise((resolve, reject) => {
      let trailers;
      const done = (error, response) => {
        if (error) reject(new KmsError(error, this.errorInfo(error.metadata)));
        else setImmediate(() => resolve({ response, trailers }));
      };
      const call = stub[name](request, metadata, { deadline: Date.now() + 20_000 }, done);
      call.on('status', (status) => { trailers = status.metadata.getMap(); });
    });
  }

  // Returns the google.rpc.ErrorInfo of a refused call, from its trailing metadata.
  errorInfo(metadata) {
    const [raw] = metadata.get('grpc-status-details-bin');
    if (!raw) return undefined;
    const { details } = this.decode('google.rpc.Status', raw);
    const info = details.find((detail) => detail.type_url === ERROR_INFO || detail['@type'] === ERROR_INFO);
    return info?.value ? this.decode('google.rpc.ErrorInfo', info.value) : info;
  }

  decode(type, raw) {
    return this.definition[type].deserialize(raw);
  }

  close() {
    this.stubs.forEach((stub) => stub.close());
  }
}
