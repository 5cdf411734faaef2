import { offerCopying } from "./copying.js";
import { followDatapoint } from "./datapoint.js";
import { applyFilters } from "./filters.js";
import { obeyKeys } from "./keys.js";
import { followSession, followSessions } from "./live.js";
import { rateInPlace } from "./rating.js";
import { resumeSignIn } from "./sign_in.js";
import { keepTimes } from "./times.js";

offerCopying();
followDatapoint();
applyFilters();
followSession();
followSessions();
obeyKeys();
rateInPlace();
resumeSignIn();
keepTimes();
